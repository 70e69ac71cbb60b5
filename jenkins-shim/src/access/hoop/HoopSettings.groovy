package access.hoop

import com.cloudbees.groovy.cps.NonCPS

/**
 * What `hoopAccess` was called with, checked. Everything ends up in variables of a shell's environment, so values are held
 * to the characters that the executable takes. No pipeline step is called here, nothing is kept, and only methods are used
 * that the script sandbox lets through.
 */
class HoopSettings implements Serializable {
    private static final long serialVersionUID = 1L

    /** SHA256:NAME of the gateway's files for jobs, of this version; the build writes them. */
    static final String PINS = ''

    private static final String NAME = '[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?'
    private static final String DURATION = '[1-9][0-9]{0,5}[smhd]'
    private static final String PIN = '[0-9a-f]{64}:hoop-access-linux-[A-Za-z0-9_.+-]+'
    private static final String WORD = '[A-Za-z0-9@%+=:,./\\\\_-]+'

    private static final Map<String, String> PATTERNS = [
        gateway        : 'https?://[A-Za-z0-9.:-]+',
        stage          : NAME,
        credentialsId  : '[A-Za-z0-9._-]{1,128}',
        ttl            : DURATION,
        ca             : 'sha256:[A-Za-z0-9+/=_:-]+|' + WORD,
        approvalTimeout: DURATION,
        executable     : WORD + '( ' + WORD + ')*',
        pins           : PIN + '( ' + PIN + ')*',
    ]

    /**
     * Checks a call; throws an Exception that says what to write. A nested block needs no gateway and no credential, unless
     * it runs elsewhere: on another agent than the block around it.
     */
    @NonCPS
    static Map<String, String> read(Map given, boolean nested, boolean elsewhere) {
        Map<String, String> read = [:]
        for (Object key : given.keySet()) {
            String name = String.valueOf(key)
            if (name == 'connections') {
                read.connections = readConnections(given.get(key))
            } else if (name == 'ask') {
                if (given.get(key) != true) {
                    throw new Exception('hoopAccess: ask is true, or left out')
                }
                read.ask = 'true'
            } else if (name == 'env') {
                read.flags = readVariables(given.get(key))
            } else if (PATTERNS.containsKey(name)) {
                read.put(name, readText(name, given.get(key)))
            } else {
                throw new Exception('hoopAccess: there is no parameter ' + quote(name))
            }
        }
        if (!nested) {
            for (String name : ['gateway', 'stage', 'credentialsId']) {
                if (!read.containsKey(name)) {
                    throw new Exception('hoopAccess: ' + name + ' is missing' + (elsewhere
                        ? ': this block runs on another agent than the block around it, and needs gateway, stage and credentialsId of its own'
                        : ''))
                }
            }
        }
        return read
    }

    /** `NAME=value` lines, as `hoop-access env --format docker` prints them. */
    @NonCPS
    static List<String> lines(String printed) {
        List<String> found = []
        for (String line : printed.split('\r?\n')) {
            if (line.matches('[A-Za-z_][A-Za-z0-9_]*=.*')) found.add(line)
        }
        return found
    }

    /** Lines of an approval's id, a tab and the question, as `hoop-access approvals waiting` prints them. */
    @NonCPS
    static List<String> questions(String printed) {
        List<String> found = []
        for (String line : printed.split('\r?\n')) {
            if (line.matches('apr_[a-z2-7]{26}\t.+')) found.add(line)
        }
        return found
    }

    @NonCPS
    static String idOf(String question) {
        return question.substring(0, question.indexOf('\t'))
    }

    @NonCPS
    static String messageOf(String question) {
        return question.substring(question.indexOf('\t') + 1)
    }

    @NonCPS
    private static String readText(String name, Object value) {
        String text = value == null ? '' : value.toString()
        if (!text.matches(PATTERNS.get(name))) {
            throw new Exception('hoopAccess: ' + name + ' cannot be ' + quote(text))
        }
        return text
    }

    @NonCPS
    private static String readConnections(Object value) {
        if (!(value instanceof List)) {
            throw new Exception("hoopAccess: connections is a list: ['orders-db:read']")
        }
        List<String> names = []
        for (Object one : (List) value) {
            String name = String.valueOf(one)
            if (!name.matches(NAME + '(:[A-Za-z][A-Za-z0-9-]{0,63})?')) {
                throw new Exception('hoopAccess: connections cannot hold ' + quote(name))
            }
            names.add(name)
        }
        return String.join(',', names)
    }

    @NonCPS
    private static String readVariables(Object value) {
        if (!(value instanceof Map)) {
            throw new Exception("hoopAccess: env is a map: [DATABASE_URL: 'orders-db']")
        }
        List<String> flags = []
        for (Object key : ((Map) value).keySet()) {
            String variable = String.valueOf(key)
            String connection = String.valueOf(((Map) value).get(key))
            if (!variable.matches('[A-Za-z_][A-Za-z0-9_]*') || !connection.matches(NAME)) {
                throw new Exception('hoopAccess: env cannot hold ' + quote(variable + '=' + connection))
            }
            flags.add('--env ' + variable + '=' + connection)
        }
        return String.join(' ', flags)
    }

    @NonCPS
    private static String quote(String text) {
        return '"' + text.substring(0, Math.min(text.length(), 80)).replaceAll('[^ -~]', '?') + '"'
    }
}
