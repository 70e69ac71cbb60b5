import access.hoop.HoopSettings

/**
 * Runs a block of a job on its agent under an identity of a stage: `hoopAccess(gateway:, stage:, connections: [],
 * credentialsId:) { … }`. Within another block it is a narrower child of that block's identity. However the block ends,
 * the identity is revoked. Secrets stay in a folder on the agent; variables lead to it.
 */
def call(Map given, Closure body) {
    boolean within = (env.HOOP_HOME ?: '') != ''
    // On another agent the folder of the block around this one is not there: its key never leaves it.
    boolean elsewhere = within && (env.HOOP_ACCESS_NODE ?: '') != (env.NODE_NAME ?: '')
    boolean nested = within && !elsewhere
    Map<String, String> settings = HoopSettings.read(given, nested, elsewhere)
    String executable = nested ? (env.HOOP_ACCESS ?: '') : ''
    String folder = ''
    String home = ''
    try {
        if (executable == '' && isUnix()) {
            folder = makeFolder()
            fetchExecutable(settings, folder)
            executable = folder + '/bin/hoop-access'
        } else if (executable == '' && settings.executable) {
            executable = settings.executable
        } else if (executable == '') {
            folder = fetchByNode(settings)
            executable = '"' + folder + '\\bin\\hoop-access.cmd"'
        }
        home = nested ? openNested(settings, executable) : openRoot(settings, executable)
        List<String> variables = readVariables(home, executable)
        variables.add('HOOP_ACCESS=' + executable)
        variables.add('HOOP_ACCESS_NODE=' + (env.NODE_NAME ?: ''))
        if (folder != '') {
            variables.add('PATH+HOOP_ACCESS=' + folder + (isUnix() ? '/bin' : '\\bin'))
        }
        if (settings.approvalTimeout) {
            variables.add('HOOP_APPROVAL_TIMEOUT=' + settings.approvalTimeout)
        }
        withEnv(variables) {
            if (settings.ask) {
                hoopAsk(body)
            } else {
                body()
            }
        }
    } finally {
        if (home != '') {
            closeIdentity(home, executable)
        }
        if (folder != '') {
            removeFolder(folder)
        }
    }
}

/** A folder on the agent for the executable, which containers of this job see, too. */
String makeFolder() {
    String printed = ''
    withEnv(['HOOP_ACCESS_PARENT=' + (env.WORKSPACE_TMP ?: '')]) {
        printed = sh(
            label: 'hoop-access',
            returnStdout: true,
            script: 'set +x; parent=${HOOP_ACCESS_PARENT:-${TMPDIR:-/tmp}}; mkdir -p "$parent"; mktemp -d "$parent/hoop-access-XXXXXX"',
        )
    }
    return printed.trim()
}

/** The given command as `hoop-access`, or the gateway's file for jobs if its digest is the one that this library pins. */
void fetchExecutable(Map<String, String> settings, String folder) {
    List<String> variables = [
        'HOOP_GATEWAY=' + (settings.gateway ?: env.HOOP_GATEWAY ?: ''),
        'HOOP_CA=' + (settings.ca ?: env.HOOP_CA ?: ''),
        'HOOP_ACCESS_COMMAND=' + (settings.executable ?: ''),
        'HOOP_ACCESS_PINS=' + HoopSettings.PINS + ' ' + (settings.pins ?: ''),
        'HOOP_ACCESS_FOLDER=' + folder + '/bin',
    ]
    String script = libraryResource('access/hoop/fetch.sh')
    withEnv(variables) {
        sh(label: 'hoop-access', script: 'set +x\n' + script)
    }
}

/** The same on a Windows agent, by its Node; gives the folder. */
String fetchByNode(Map<String, String> settings) {
    String parent = env.WORKSPACE_TMP ?: (env.WORKSPACE + '@tmp')
    String script = parent + '\\hoop-access-fetch.cjs'
    writeFile(file: script, text: libraryResource('access/hoop/fetch.cjs'))
    List<String> variables = [
        'HOOP_GATEWAY=' + (settings.gateway ?: env.HOOP_GATEWAY ?: ''),
        'HOOP_CA=' + (settings.ca ?: env.HOOP_CA ?: ''),
        'HOOP_ACCESS_PINS=' + HoopSettings.PINS,
        'HOOP_ACCESS_PARENT=' + parent,
        'HOOP_ACCESS_FETCH=' + script,
    ]
    String printed = ''
    withEnv(variables) {
        printed = bat(label: 'hoop-access', returnStdout: true, script: '@node "%HOOP_ACCESS_FETCH%"')
    }
    return printed.trim()
}

void removeFolder(String folder) {
    withEnv(['HOOP_ACCESS_FOLDER=' + folder]) {
        if (isUnix()) {
            sh(label: 'hoop-access', returnStatus: true, script: 'set +x; rm -rf "$HOOP_ACCESS_FOLDER"')
        } else {
            bat(label: 'hoop-access', returnStatus: true, script: '@rmdir /s /q "%HOOP_ACCESS_FOLDER%"')
        }
    }
}

String openRoot(Map<String, String> settings, String executable) {
    String home = ''
    // Bound for this one call: the token is good for one key, and nothing after it needs one.
    withCredentials([string(credentialsId: settings.credentialsId, variable: 'HOOP_ID_TOKEN')]) {
        home = openIdentity(settings, executable, '')
    }
    return home
}

String openNested(Map<String, String> settings, String executable) {
    return openIdentity(settings, executable, '--child')
}

/** The folder of a new identity, on the agent. */
String openIdentity(Map<String, String> settings, String executable, String how) {
    List<String> variables = [
        'HOOP_ACCESS=' + executable,
        'HOOP_ACCESS_FLAGS=' + (how + ' ' + (settings.flags ?: '')).trim(),
        'HOOP_PLATFORM=jenkins',
        'HOOP_CONNECTIONS=' + (settings.connections ?: ''),
        'HOOP_TTL=' + (settings.ttl ?: ''),
        // Containers of this job see the workspace's own temporary folder, and not the agent's.
        'RUNNER_TEMP=' + (env.WORKSPACE_TMP ?: ''),
    ]
    if (how == '') {
        // One that is still set is another agent's.
        variables.add('HOOP_HOME=')
    }
    if (settings.gateway) {
        variables.add('HOOP_GATEWAY=' + settings.gateway)
    }
    if (settings.ca) {
        variables.add('HOOP_CA=' + settings.ca)
    }
    if (settings.stage) {
        variables.add('HOOP_ACCESS_STAGE=' + settings.stage)
    }
    String printed = ''
    withEnv(variables) {
        printed = runHere(
            'set +x; [ -z "$RUNNER_TEMP" ] || mkdir -p "$RUNNER_TEMP"; "$HOOP_ACCESS" open $HOOP_ACCESS_FLAGS ${HOOP_ACCESS_STAGE:+--stage "$HOOP_ACCESS_STAGE"}',
            '@echo off\r\nif not "%RUNNER_TEMP%"=="" if not exist "%RUNNER_TEMP%" mkdir "%RUNNER_TEMP%"\r\nif not "%HOOP_ACCESS_STAGE%"=="" set "HOOP_ACCESS_FLAGS=%HOOP_ACCESS_FLAGS% --stage %HOOP_ACCESS_STAGE%"\r\ncall %HOOP_ACCESS% open %HOOP_ACCESS_FLAGS%',
        )
    }
    return printed.trim()
}

/** The variables that lead programs to an identity; none is secret. */
List<String> readVariables(String home, String executable) {
    String printed = ''
    withEnv(['HOOP_HOME=' + home, 'HOOP_ACCESS=' + executable]) {
        printed = runHere(
            'set +x; "$HOOP_ACCESS" env --format docker',
            '@call %HOOP_ACCESS% env --format docker',
        )
    }
    return HoopSettings.lines(printed)
}

void closeIdentity(String home, String executable) {
    int code = 0
    withEnv(['HOOP_HOME=' + home, 'HOOP_ACCESS=' + executable]) {
        if (isUnix()) {
            code = sh(label: 'hoop-access close', returnStatus: true, script: 'set +x; "$HOOP_ACCESS" close')
        } else {
            code = bat(label: 'hoop-access close', returnStatus: true, script: '@call %HOOP_ACCESS% close')
        }
    }
    if (code != 0) {
        // The block's own outcome counts; the key is gone with the folder, and the identity ends by itself.
        echo 'hoopAccess: WARNING: the identity could not be revoked, and ends by itself'
    }
}

/** What a command prints, on whichever system the agent has. */
String runHere(String posix, String windows) {
    if (isUnix()) {
        return sh(label: 'hoop-access', returnStdout: true, script: posix)
    }
    return bat(label: 'hoop-access', returnStdout: true, script: windows)
}
