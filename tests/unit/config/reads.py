"""Which keys of the configuration some code reads, told from the source alone.

Every variable is followed through assignments, arguments, attributes of objects and returned values, from where it is
annotated as a section. A place in the configuration is a dotted path (`train_policy.train`), an instance of a class of
the project is `@module:Class`; a variable's value is the set of what it may be.

Limits: it does not know what runs. A read behind a condition that is never true counts, callers of one function are not told
apart, and what goes through `vars`, `asdict` or a mapping is not followed.
"""

import ast
import dataclasses
import re
import types
import typing
from collections import defaultdict

CHECKS = re.compile(r"__post_init__|_?check_\w+")
"""Functions that look at keys to refuse them; that is not what a key is for."""


def key_types(hint, path="", overrides=None):
    """{path: type} of a section and everything below it; `group.*` is any member of a dictionary of sections."""
    hint = (overrides or {}).get(path, hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    below = {}
    if typing.get_origin(hint) is dict and typing.get_args(hint)[1] is not str:
        below = {"*": typing.get_args(hint)[1]}
    elif dataclasses.is_dataclass(hint) and not hasattr(hint, "weights"):
        below = {field.name: typing.get_type_hints(hint)[field.name] for field in dataclasses.fields(hint)}
    found = {path: hint}
    for name, kind in below.items():
        found |= key_types(kind, f"{path}.{name}".lstrip("."), overrides)
    return found


def leaves(all_types):
    """The paths that hold a value."""
    return {path for path in all_types if path and not any(other.startswith(f"{path}.") for other in all_types)}


class Function:
    """A function, method or module body; `key` is unique, `parent` the scope around it, `owner` its class."""

    def __init__(self, key, node, module, parent=None, owner=None):
        self.key, self.node, self.module, self.parent, self.owner = key, node, module, parent, owner

    @property
    def parameters(self):
        if isinstance(self.node, ast.Module):
            return []
        given = self.node.args
        return [*given.posonlyargs, *given.args, *given.kwonlyargs]


class Program:
    """Modules' functions, classes and names. `sources`: {dotted module: text}."""

    def __init__(self, sources):
        self.functions, self.classes, self.names = {}, {}, defaultdict(dict)
        for module, text in sources.items():
            tree = ast.parse(text)
            self.functions[module] = Function(module, tree, module)
            self._collect(tree, module, self.functions[module], None)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom):
                    self.names[module] |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
                elif isinstance(node, ast.Import):
                    self.names[module] |= {a.asname or a.name.partition(".")[0]: a.name for a in node.names}

    def _collect(self, tree, module, parent, owner):
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.ClassDef):
                key = f"{module}.{node.name}"
                self.classes[key] = node
                self.names[module].setdefault(node.name, key)
                self._collect(node, module, parent, key)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                name = getattr(node, "name", f"lambda{node.lineno}:{node.col_offset}")
                key = f"{owner or parent.key}.{name}"
                inner = self.functions[key] = Function(key, node, module, parent, owner)
                if parent.key == module and owner is None:
                    self.names[module].setdefault(name, key)
                self._collect(node, module, inner, None)
            else:
                self._collect(node, module, parent, owner)

    def resolve(self, module, node):
        """The dotted name that an expression stands for, or None."""
        if isinstance(node, ast.Name):
            return self.names[module].get(node.id)
        if isinstance(node, ast.Attribute):
            base = self.resolve(module, node.value)
            if base is None:
                return None
            return self.names.get(base, {}).get(node.attr, f"{base}.{node.attr}")
        return None

    def canonical(self, name):
        """A name through the packages that re-export it."""
        while name and name not in self.functions and name not in self.classes:
            package, _, last = name.rpartition(".")
            found = self.names.get(f"{package}.__init__", {}).get(last) or self.names.get(package, {}).get(last)
            if found is None or found == name:
                return name
            name = found
        return name

    def member(self, key, name):
        """A method of a class or of those it inherits from."""
        while key in self.classes:
            if f"{key}.{name}" in self.functions:
                return self.functions[f"{key}.{name}"]
            bases = [self.canonical(self.resolve(key.rpartition(".")[0], base)) for base in self.classes[key].bases]
            key = next((base for base in bases if base in self.classes), None)
        return None


class Flow:
    """Follows sections through a `Program` until nothing new is found; `reads` are the paths that are read."""

    def __init__(self, program, all_types):
        self.program, self.types = program, all_types
        self.values, self.attributes, self.returns = defaultdict(set), defaultdict(set), defaultdict(set)
        self.reads, self._checking, self._annotated = set(), False, {}
        named = defaultdict(set)
        for path, kind in all_types.items():
            named[getattr(kind, "__name__", "")].add(path)
        self.by_annotation = {name: next(iter(paths)) for name, paths in named.items() if name and len(paths) == 1}
        size = -1
        while size != (size := self._size()):
            for function in program.functions.values():
                self._run(function)

    def _size(self):
        stores = (self.values, self.attributes, self.returns)
        return len(self.reads) + sum(len(value) for store in stores for value in store.values())

    def annotated(self, module, annotation):
        """What an annotation says of a value."""
        if annotation is None:
            return set()
        if annotation in self._annotated:
            return self._annotated[annotation]
        found = self._annotated[annotation] = set()
        for node in ast.walk(annotation):
            name = self.program.canonical(self.program.resolve(module, node))
            last = name.rpartition(".")[2] if name else ""
            if name and name.startswith("wmtp.config") and last in self.by_annotation:
                found.add(self.by_annotation[last])
            elif name in self.program.classes and not name.startswith("wmtp.config"):
                found.add(f"@{name}")
        return found

    def _run(self, function):
        name = function.key.rpartition(".")[2]
        self._checking = bool(CHECKS.fullmatch(name))
        for index, parameter in enumerate(function.parameters):
            value = self.annotated(function.module, parameter.annotation)
            if index == 0 and function.owner and parameter.arg in ("self", "cls"):
                value = {f"@{function.owner}"}
            self.values[function.key, parameter.arg] |= value
        body = function.node.body
        for node in body if isinstance(body, list) else [body]:
            self._statement(node, function)
        if isinstance(function.node, ast.Lambda):
            self.returns[function.key] |= self.value(body, function)

    def _statement(self, node, function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for default in (*node.args.defaults, *node.args.kw_defaults, *node.decorator_list):
                self.value(default, function)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value, self.value(node.value, function), function)
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            found = self.value(node.value, function) if node.value else set()
            if isinstance(node, ast.AnnAssign):
                found = found | self.annotated(function.module, node.annotation)
            self._assign(node.target, node.value, found, function)
        elif isinstance(node, ast.Return):
            self.returns[function.key] |= self.value(node.value, function)
        elif isinstance(node, ast.For | ast.AsyncFor):
            self._assign(node.target, None, self._members(self.value(node.iter, function)), function)
            self._block(node, function)
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                found = self.value(item.context_expr, function)
                if item.optional_vars:
                    self._assign(item.optional_vars, None, found, function)
            self._block(node, function)
        elif not isinstance(node, ast.ClassDef):
            self._block(node, function)

    def _block(self, node, function):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
                self._statement(child, function)
            elif isinstance(child, ast.expr):
                self.value(child, function)

    def _assign(self, target, source, found, function):
        if isinstance(target, ast.Name):
            self.values[function.key, target.id] |= found
        elif isinstance(target, ast.Tuple | ast.List):
            apart = isinstance(source, ast.Tuple) and len(source.elts) == len(target.elts)
            for index, element in enumerate(target.elts):
                part = self.value(source.elts[index], function) if apart else found
                self._assign(element, source.elts[index] if apart else None, part, function)
        elif isinstance(target, ast.Attribute):
            for owner in self.value(target.value, function):
                self.attributes[owner, target.attr] |= found

    def _members(self, found):
        return {f"{path}.*" if f"{path}.*" in self.types else path for path in found}

    def value(self, node, function):
        """What an expression may be; its reads are remembered on the way."""
        if isinstance(node, ast.Name):
            scope = function
            while scope is not None:
                if (scope.key, node.id) in self.values:
                    return self.values[scope.key, node.id]
                scope = scope.parent
            return set()
        if isinstance(node, ast.Attribute):
            return self.attribute(self.value(node.value, function), node.attr)
        if isinstance(node, ast.Subscript):
            self.value(node.slice, function)
            return self._members(self.value(node.value, function))
        if isinstance(node, ast.Call):
            return self._call(node, function)
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            for part in node.generators:
                self._assign(part.target, None, self._members(self.value(part.iter, function)), function)
                for condition in part.ifs:
                    self.value(condition, function)
            parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
            return set().union(*(self.value(part, function) for part in parts))
        if isinstance(node, ast.NamedExpr):
            found = self.value(node.value, function)
            self._assign(node.target, node.value, found, function)
            return found
        if node is None or isinstance(node, ast.Lambda):
            return set()
        children = [self.value(child, function) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        return set() if isinstance(node, ast.Compare | ast.JoinedStr) else set().union(*children)

    def attribute(self, owners, name):
        found = set()
        for owner in owners:
            path = f"{owner}.{name}".lstrip(".")
            if owner.startswith("@"):
                found |= self.attributes[owner, name] | self._declared(owner[1:], name)
                method = self.program.member(owner[1:], name)
                found |= self.returns[method.key] if method else set()
            elif path in self.types:
                found.add(path)
                if not self._checking:
                    self.reads.add(path)
        return found

    def _declared(self, key, name):
        """What a class's own annotations say of an attribute."""
        for node in self.program.classes[key].body if key in self.program.classes else ():
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
                return self.annotated(key.rpartition(".")[0], node.annotation)
        return set()

    def _call(self, node, function):
        positional = [self.value(argument, function) for argument in node.args]
        named = {keyword.arg: self.value(keyword.value, function) for keyword in node.keywords}
        callee = self._callee(node.func, function)
        if callee == "functools.partial" and node.args:
            inner = self.program.canonical(self.program.resolve(function.module, node.args[0]))
            known = inner in self.program.functions or inner in self.program.classes
            return self._enter(inner, positional[1:], named) if known else set()
        if callee in self.program.functions or callee in self.program.classes:
            entered = self.program.functions.get(callee)
            if entered and [parameter.arg for parameter in entered.parameters][:1] == ["cls"]:
                positional = [{f"@{entered.owner}"}, *positional]
            return self._enter(callee, positional, named)
        if isinstance(node.func, ast.Name) and node.func.id == "getattr":
            names = [node.args[1].value] if isinstance(node.args[1], ast.Constant) else self._children(positional[0])
            return set().union(*(self.attribute(positional[0], name) for name in names))
        if isinstance(node.func, ast.Attribute):
            owners, found = self.value(node.func.value, function), set()
            for owner in owners:
                method = self.program.member(owner[1:], node.func.attr) if owner.startswith("@") else None
                found |= self._enter(method.key, [{owner}, *positional], named) if method else self._members({owner})
            return found
        return set().union(*positional, *named.values())

    def _callee(self, node, function):
        """The function or class that is called by a name: one of the scopes around, or one of the module's."""
        scope = function if isinstance(node, ast.Name) else None
        while scope is not None:
            if f"{scope.key}.{node.id}" in self.program.functions:
                return f"{scope.key}.{node.id}"
            scope = scope.parent
        return self.program.canonical(self.program.resolve(function.module, node))

    def _children(self, owners):
        return {path[len(owner) :].lstrip(".") for owner in owners for path in self.types if path.startswith(f"{owner}.")}

    def _enter(self, callee, positional, named):
        """Hand values to a function's parameters, or to a class's, and take what comes back."""
        if callee in self.program.classes:
            instance = f"@{callee}"
            method = self.program.member(callee, "__init__")
            if method:
                self._enter(method.key, [{instance}, *positional], named)
            fields = [n.target.id for n in self.program.classes[callee].body if isinstance(n, ast.AnnAssign)]
            for name, found in (*zip(fields, positional, strict=False), *named.items()):
                self.attributes[instance, name] |= found
            return {instance}
        function = self.program.functions[callee]
        names = [parameter.arg for parameter in function.parameters]
        for name, found in (*zip(names, positional, strict=False), *named.items()):
            if name in names:
                self.values[callee, name] |= found
        return self.returns[callee]
