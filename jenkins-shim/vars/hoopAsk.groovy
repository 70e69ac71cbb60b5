import access.hoop.HoopSettings

/**
 * Runs a block of `hoopAccess` and, beside it, asks by `input` for what the block waits for (gate `jenkins-input`). The gateway
 * reads from the controller who answered, and nothing that is said here; what is decided elsewhere takes the `input` away.
 * Aborting an `input` ends the block, and with it the request.
 */
def call(Closure body) {
    List<String> over = []
    Map<String, Object> branches = [failFast: true]
    branches.put('work', {
        try {
            body()
        } finally {
            over.add('over')
        }
    })
    branches.put('approvals', { askUntil(over) })
    parallel(branches)
}

void askUntil(List<String> over) {
    while (over.isEmpty()) {
        List<String> questions = HoopSettings.questions(waiting())
        if (questions.isEmpty()) {
            sleep(time: 3, unit: 'SECONDS')
        } else {
            ask(questions.get(0), over)
        }
    }
}

/** One question; returns when it is decided, or when the answer that was given does not count. */
void ask(String question, List<String> over) {
    String id = HoopSettings.idOf(question)
    List<String> answered = []
    List<String> ended = []
    Map<String, Object> branches = [failFast: true]
    branches.put('input', {
        input(id: id, message: HoopSettings.messageOf(question), ok: 'Approve')
        answered.add(id)
    })
    branches.put('gateway', {
        int patience = 10
        while (ended.isEmpty()) {
            sleep(time: 3, unit: 'SECONDS')
            if (!answered.isEmpty()) {
                patience--
            }
            if (patience == 0 || !over.isEmpty() || !HoopSettings.questions(waiting()).contains(question)) {
                ended.add(id)
            }
        }
        // Ends an input that nobody answered here: `failFast` interrupts the branch beside this one.
        if (answered.isEmpty()) {
            error('hoopAsk: ' + id + ' is over')
        }
    })
    try {
        parallel(branches)
    } catch (Exception interrupted) {
        if (ended.isEmpty()) {
            throw interrupted
        }
    }
}

/** What `hoop-access approvals waiting` prints of the block's identity. */
String waiting() {
    if (isUnix()) {
        return sh(
            label: 'hoop-access approvals waiting',
            returnStdout: true,
            script: 'set +x; "$HOOP_ACCESS" approvals waiting --gate jenkins-input',
        )
    }
    return bat(
        label: 'hoop-access approvals waiting',
        returnStdout: true,
        script: '@call %HOOP_ACCESS% approvals waiting --gate jenkins-input',
    )
}
