import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilerConfiguration

// Runs a Jenkinsfile's steps with the shared library, on strict doubles of Jenkins's steps: what Jenkins would refuse, they
// refuse, and whatever crosses a step must be serialisable, as after a restart of the controller. `sh` runs for real.
//
// args: the repository's root, a script, the library's folder, and, on standard input, JSON { env, credentials: { id: [token, …] }, windows,
// controller: the URL of the double that `input` asks }. Prints JSON.

abstract class Steps extends Script {
    static final List<String> calls = Collections.synchronizedList([])
    static final StringBuffer log = new StringBuffer()
    static Map<String, String> machine = [:]
    static Map<String, List<String>> credentials = [:]
    // Each branch of `parallel` goes on with the variables of the block that it is in.
    static final InheritableThreadLocal<List<Map<String, String>>> branch = new InheritableThreadLocal<List<Map<String, String>>>() {
        protected List<Map<String, String>> childValue(List<Map<String, String>> parent) { return new ArrayList(parent) }
        protected List<Map<String, String>> initialValue() { return [] }
    }
    static List<Map<String, String>> getLayers() { return branch.get() }
    static String controller
    static boolean windows = false
    static File resources
    static Closure<String> answerBat = { String script -> '' }

    Map<String, String> variables() {
        Map<String, String> all = [:]
        all.putAll(machine)
        for (Map<String, String> layer : layers) all.putAll(layer)
        return all
    }

    Map<String, String> getEnv() { return variables() }

    boolean isUnix() { note('isUnix'); return !windows }

    void echo(Object message) { note('echo'); log.append(plain(message)).append('\n') }

    void error(Object message) { note('error'); throw new Exception(plain(message)) }

    void stage(Object name, Closure body) { note('stage'); plain(name); body() }

    /** An agent of its own: another name, and a workspace of its own; the rest of the environment stays as it is. */
    def node(Object label, Closure body) {
        note('node')
        String name = plain(label)
        String workspace = machine.get('HOME') + '/' + name
        within(serialised([NODE_NAME: name, WORKSPACE: workspace, WORKSPACE_TMP: workspace + '@tmp']), body)
    }

    // The frame of a declarative pipeline, which Jenkins turns into these very steps.
    def pipeline(Closure body) { body() }

    void agent(Object kind) { if (kind != 'any') throw new Exception('agent: ' + kind) }

    String getAny() { return 'any' }

    def stages(Closure body) { body() }

    def steps(Closure body) { body() }

    def script(Closure body) { body() }

    def withEnv(Object list, Closure body) {
        note('withEnv')
        if (!(list instanceof List)) throw new Exception('withEnv: a list is needed')
        Map<String, String> layer = [:]
        for (Object one : (List) list) {
            String text = plain(one)
            int at = text.indexOf('=')
            if (at <= 0) throw new Exception('withEnv: ' + text)
            String name = text.substring(0, at)
            String value = text.substring(at + 1)
            // EnvVars.overrideExpandingAll: PATH+ANYTHING goes before what PATH holds.
            if (name.startsWith('PATH+')) layer.put('PATH', value + ':' + variables().get('PATH'))
            else layer.put(name, value)
        }
        within(serialised(layer), body)
    }

    String libraryResource(Object path) {
        note('libraryResource')
        return serialised(new File(resources, plain(path)).text)
    }

    void writeFile(Map given) {
        if (given.keySet() != ['file', 'text'] as Set) throw new Exception('writeFile: ' + given.keySet())
        note('writeFile ' + plain(given.file))
        if (!windows) new File(plain(given.file)).text = plain(given.text)
    }

    Map string(Map given) {
        if (given.keySet() != ['credentialsId', 'variable'] as Set) throw new Exception('string: ' + given.keySet())
        return [kind: 'string', id: plain(given.credentialsId), variable: plain(given.variable)]
    }

    def withCredentials(Object bindings, Closure body) {
        note('withCredentials')
        Map<String, String> layer = [:]
        for (Object one : (List) bindings) {
            Map binding = (Map) one
            List<String> tokens = credentials.get(binding.id)
            if (!tokens) throw new Exception("Could not find credentials entry with ID '" + binding.id + "'")
            // Each binding asks the plugin, which signs anew.
            layer.put((String) binding.variable, tokens.remove(0))
        }
        within(layer, body)
    }

    private within(Map<String, String> layer, Closure body) {
        layers.add(layer)
        try {
            return body()
        } finally {
            layers.remove(layers.size() - 1)
        }
    }

    def sh(Object given) {
        if (windows) throw new Exception('sh: not on a Windows agent')
        return shell('sh', given) { String script ->
            // As the durable task runs it: traced, and failing at the first failure.
            List<String> command = ['/bin/sh', '-xe', '-c', script]
            ProcessBuilder builder = new ProcessBuilder(command)
            builder.environment().clear()
            builder.environment().putAll(variables())
            Process process = builder.start()
            StringBuffer out = new StringBuffer()
            StringBuffer err = new StringBuffer()
            List<Thread> readers = [process.consumeProcessOutputStream(out), process.consumeProcessErrorStream(err)]
            try {
                process.waitFor()
            } catch (InterruptedException interrupted) {
                process.destroy()
                throw interrupted
            }
            for (Thread reader : readers) reader.join()
            log.append(err)
            return [code: process.exitValue(), out: out.toString()]
        }
    }

    void sleep(Map given) {
        if (given.keySet() != ['time', 'unit'] as Set || given.unit != 'SECONDS') throw new Exception('sleep: ' + given)
        note('sleep')
        // Ten times as fast: what counts is the order.
        Thread.sleep(((int) given.time) * 100L)
    }

    /** Branches as threads: they take turns in Jenkins, and may here only because nothing of theirs is shared but lists. */
    def parallel(Map given) {
        note('parallel')
        boolean failFast = given.get('failFast') == true
        Map<Thread, Throwable> failures = Collections.synchronizedMap(new LinkedHashMap<Thread, Throwable>())
        List<Thread> threads = Collections.synchronizedList([])
        for (Object key : new ArrayList(given.keySet())) {
            if (key == 'failFast') continue
            Closure body = (Closure) given.get(key)
            threads.add(new Thread({
                try {
                    body()
                } catch (Throwable problem) {
                    failures.put(Thread.currentThread(), problem)
                    if (failFast) for (Thread other : threads) if (other != Thread.currentThread()) other.interrupt()
                }
            }))
        }
        for (Thread thread : threads) thread.start()
        try {
            for (Thread thread : threads) thread.join()
        } catch (InterruptedException interrupted) {
            for (Thread thread : threads) thread.interrupt()
            for (Thread thread : threads) thread.join()
            throw interrupted
        }
        // As Jenkins does: the first that failed speaks for all.
        if (!failures.isEmpty()) throw failures.values().iterator().next()
    }

    def input(Map given) {
        if (given.keySet() != ['id', 'message', 'ok'] as Set) throw new Exception('input: ' + given.keySet())
        note('input ' + plain(given.id))
        Closure<String> tell = { String method, String body ->
            HttpURLConnection connection = (HttpURLConnection) new URL(controller).openConnection()
            connection.requestMethod = method
            if (body != null) {
                connection.doOutput = true
                connection.outputStream.write(body.getBytes('UTF-8'))
            }
            return connection.inputStream.getText('UTF-8')
        }
        tell('POST', JsonOutput.toJson([id: plain(given.id), message: plain(given.message)]))
        try {
            while (true) {
                String state = tell('GET', null)
                if (state == 'proceed') return null
                if (state == 'abort') throw new Exception('Rejected by somebody')
                Thread.sleep(50)
            }
        } finally {
            boolean interrupted = Thread.interrupted()
            tell('DELETE', null)
            if (interrupted) Thread.currentThread().interrupt()
        }
    }

    def bat(Object given) {
        if (!windows) throw new Exception('bat: only on a Windows agent')
        return shell('bat', given) { String script -> [code: 0, out: answerBat.call(script)] }
    }

    private shell(String step, Object given, Closure<Map> run) {
        Map options = given instanceof Map ? (Map) given : [script: given]
        for (Object key : options.keySet()) {
            if (!(key in ['script', 'returnStdout', 'returnStatus', 'label'])) throw new Exception(step + ': ' + key)
        }
        if (options.returnStdout && options.returnStatus) throw new Exception(step + ': either status or output')
        if (!(options.script instanceof String)) {
            throw new Exception(step + ': the script is interpolated by Groovy: secrets would be in it')
        }
        note(step + ' ' + options.script)
        Map done = run.call((String) options.script)
        if (!options.returnStdout) log.append(done.out)
        if (options.returnStatus) return done.code
        if (done.code != 0) throw new Exception('script returned exit code ' + done.code)
        return options.returnStdout ? done.out : null
    }

    private void note(String call) { calls.add(call) }

    private static String plain(Object value) {
        if (!(value instanceof CharSequence)) throw new Exception('not text: ' + value)
        return serialised(value.toString())
    }

    private static <T> T serialised(T value) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream()
        new ObjectOutputStream(bytes).writeObject(value)
        return (T) new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray())).readObject()
    }

    def methodMissing(String name, Object arguments) {
        if (name == 'hoopAccess') {
            Object[] given = (Object[]) arguments
            return library.call(given[0], (Closure) given[1])
        }
        if (name == 'hoopAsk') return asking.call((Closure) ((Object[]) arguments)[0])
        throw new Exception('No such DSL method ' + name)
    }

    static Script library
    static Script asking
}

File root = new File(args[0])
File shim = new File(args[2])
Steps.resources = new File(shim, 'resources')
Map input = (Map) new JsonSlurper().parse(System.in)
Steps.machine = (Map) input.env
Steps.credentials = (Map) input.credentials
Steps.windows = input.windows == true
Steps.controller = input.controller
Steps.answerBat = { String script ->
    script.startsWith('@node ') ? 'C:\\agent\\tmp\\hoop-access-1\r\n' : script.contains(' open ') ? 'C:\\agent\\tmp\\hoop-1\r\n' : 'HOOP_HOME=C:\\agent\\tmp\\hoop-1\r\nPGHOST=gateway\r\n'
}
CompilerConfiguration configuration = new CompilerConfiguration()
configuration.scriptBaseClass = Steps.name
GroovyClassLoader loader = new GroovyClassLoader(Steps.classLoader, configuration)
loader.addClasspath(new File(shim, 'src').path)
loader.addClasspath(new File(root, 'test/jenkins/stubs').path)
GroovyShell shell = new GroovyShell(loader, new Binding(), configuration)
Steps.library = shell.parse(new File(shim, 'vars/hoopAccess.groovy'))
Steps.asking = shell.parse(new File(shim, 'vars/hoopAsk.groovy'))
String failure = null
try {
    shell.parse(args[1], 'Jenkinsfile.groovy').run()
} catch (Exception problem) {
    failure = problem.toString()
}
println JsonOutput.toJson([failure: failure, log: Steps.log.toString(), calls: Steps.calls, layers: Steps.layers.size()])
