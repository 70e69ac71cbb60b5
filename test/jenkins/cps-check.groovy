import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.codehaus.groovy.ast.ASTNode
import org.codehaus.groovy.ast.ClassNode
import org.codehaus.groovy.ast.CodeVisitorSupport
import org.codehaus.groovy.ast.FieldNode
import org.codehaus.groovy.ast.MethodNode
import org.codehaus.groovy.ast.expr.BinaryExpression
import org.codehaus.groovy.ast.expr.ClosureExpression
import org.codehaus.groovy.ast.expr.ConstructorCallExpression
import org.codehaus.groovy.ast.expr.DeclarationExpression
import org.codehaus.groovy.ast.expr.GStringExpression
import org.codehaus.groovy.ast.expr.MethodCallExpression
import org.codehaus.groovy.ast.expr.TupleExpression
import org.codehaus.groovy.ast.expr.VariableExpression
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.Phases

// Says what in sources (JSON { name: text } on standard input) Jenkins's continuations or its script sandbox do not take.
// Prints JSON { name: [fault, …] }.

class Check extends CodeVisitorSupport {
    static final Set<String> STEPS = ['sh', 'bat', 'powershell', 'pwsh', 'withEnv', 'withCredentials', 'echo', 'error', 'isUnix', 'string', 'input', 'parallel', 'node', 'stage', 'sleep', 'libraryResource', 'writeFile', 'env'] as Set
    // Their closures are called from Groovy's own code, through which a continuation cannot be taken.
    static final Set<String> LOOPS = ['each', 'eachWithIndex', 'collect', 'collectEntries', 'find', 'findAll', 'any', 'every', 'inject', 'sort', 'with', 'times', 'groupBy', 'sum', 'max', 'min', 'unique', 'removeAll', 'eachLine', 'step', 'upto', 'tap'] as Set
    static final Set<String> KEPT = ['String', 'List', 'Map', 'boolean', 'Boolean', 'int', 'Integer'] as Set
    static final Set<String> MADE = ['Exception'] as Set

    final List<String> faults
    final Set<String> plain
    final Set<String> mine
    String where = ''
    boolean nonCps = false
    boolean constructor = false

    Check(List<String> faults, Set<String> mine, Set<String> plain) {
        this.faults = faults
        this.mine = mine
        this.plain = plain
    }

    void fault(ASTNode node, String what) { faults.add(where + ', line ' + node.lineNumber + ': ' + what) }

    @Override
    void visitMethodCallExpression(MethodCallExpression call) {
        String name = call.methodAsString
        boolean own = call.objectExpression instanceof VariableExpression && ((VariableExpression) call.objectExpression).isThisExpression()
        if (own && STEPS.contains(name) && (nonCps || constructor)) fault(call, 'step ' + name + ' outside the continuations')
        if (own && nonCps && mine.contains(name) && !plain.contains(name)) fault(call, '@NonCPS calls ' + name + ', which is not')
        if (constructor && own) fault(call, 'a constructor calls ' + name)
        if (!nonCps && name == 'entrySet') fault(call, 'entrySet() is not serialisable')
        if (name in ['execute', 'evaluate', 'getURL', 'toURL', 'openConnection', 'newInstance', 'forName']) fault(call, name + ' is refused by the sandbox')
        if (!nonCps && LOOPS.contains(name) && call.arguments instanceof TupleExpression) {
            for (Object one : ((TupleExpression) call.arguments).expressions) {
                if (one instanceof ClosureExpression) fault(call, name + ' with a closure: write a loop')
            }
        }
        super.visitMethodCallExpression(call)
    }

    @Override
    void visitConstructorCallExpression(ConstructorCallExpression call) {
        if (!call.isSpecialCall() && !MADE.contains(call.type.name)) fault(call, 'new ' + call.type.name + ' is refused by the sandbox')
        super.visitConstructorCallExpression(call)
    }

    @Override
    void visitDeclarationExpression(DeclarationExpression declaration) {
        if (!nonCps && !declaration.isMultipleAssignmentDeclaration()) {
            String type = declaration.variableExpression.type.nameWithoutPackage
            if (!KEPT.contains(type)) fault(declaration, 'a local of type ' + type + ' may not be serialisable')
        }
        super.visitDeclarationExpression(declaration)
    }

    @Override
    void visitBinaryExpression(BinaryExpression expression) {
        if (!nonCps && expression.operation.text == '=~') fault(expression, 'a Matcher is not serialisable')
        super.visitBinaryExpression(expression)
    }

    @Override
    void visitGStringExpression(GStringExpression expression) {
        if (!nonCps) fault(expression, 'text that Groovy interpolates')
        super.visitGStringExpression(expression)
    }
}

Map result = [:]
((Map<String, String>) new JsonSlurper().parse(System.in)).each { String name, String text ->
    List<String> faults = []
    CompilationUnit unit = new CompilationUnit()
    unit.addSource(name.replaceAll('\\W', '_'), text)
    unit.compile(Phases.CONVERSION)
    unit.AST.modules.each { module ->
        module.imports.each { one ->
            if (one.className ==~ /(java|javax|groovy|jenkins|hudson)\..*/) faults.add('import of ' + one.className)
        }
        module.classes.each { ClassNode type ->
            if (!type.isScript() && !type.interfaces.any { it.nameWithoutPackage == 'Serializable' }) faults.add('class ' + type.name + ' is not Serializable')
            Closure<Boolean> isNonCps = { MethodNode method -> method.annotations.any { it.classNode.nameWithoutPackage == 'NonCPS' } }
            Set<String> mine = type.methods*.name as Set
            Set<String> plain = type.methods.findAll(isNonCps)*.name as Set
            Check check = new Check(faults, mine, plain)
            (type.methods + type.declaredConstructors).each { MethodNode method ->
                check.where = name + ' ' + method.name
                check.nonCps = isNonCps(method)
                check.constructor = type.declaredConstructors.any { it.is(method) } && !type.isScript()
                method.code?.visit(check)
            }
            type.fields.each { FieldNode field ->
                check.where = name + ' ' + field.name
                check.nonCps = false
                check.constructor = true
                field.initialExpression?.visit(check)
            }
        }
    }
    result.put(name, faults)
}
println JsonOutput.toJson(result)
