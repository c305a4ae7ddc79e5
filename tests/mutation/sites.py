"""Finds what can be mutated in C++ sources, and writes sources in which a mutant is chosen at run time.

A site is an expression or statement; each of its changes becomes one mutant:

  comparison   a < b        a <= b, a >= b; and so on; == and != turn into each other
  constant     64           doubled and halved; below 16 one more and one less; true and false
  assignment   a = b        left out; a += b and ++a also the other way
  return       if (c) return x;   goes on instead; the same for continue and break

Sites that the compiler evaluates (array sizes, template arguments, case labels, enumerators,
static_assert) are no sites. A constexpr variable is one, changed wherever the program reads it.
"""
import bisect
import re

import clang.cindex
from clang.cindex import CursorKind as K

FLIPPED = {
    "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"],
    "==": ["!="], "!=": ["=="],
}
INVERSE = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "++": "--", "--": "++"}
ASSIGNMENTS = ["=", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "<<=", ">>="]
FUNCTIONS = {K.FUNCTION_DECL, K.CXX_METHOD, K.CONSTRUCTOR, K.DESTRUCTOR, K.FUNCTION_TEMPLATE,
             K.CONVERSION_FUNCTION}
STATEMENT_PARENTS = {K.COMPOUND_STMT, K.IF_STMT, K.FOR_STMT, K.WHILE_STMT, K.DO_STMT,
                     K.CXX_FOR_RANGE_STMT, K.CASE_STMT, K.DEFAULT_STMT, K.LABEL_STMT,
                     K.UNEXPOSED_STMT}
ARITHMETIC = {clang.cindex.TypeKind.INT, clang.cindex.TypeKind.UINT, clang.cindex.TypeKind.LONG,
              clang.cindex.TypeKind.ULONG, clang.cindex.TypeKind.LONGLONG,
              clang.cindex.TypeKind.ULONGLONG, clang.cindex.TypeKind.UCHAR,
              clang.cindex.TypeKind.USHORT, clang.cindex.TypeKind.DOUBLE}
SENTINELS = {"no_id", "never_ns", "never_ps", "long_ago_ps"}
EXPRESSION = "expression"
STATEMENT = "statement"


class Site:
    """One place of one file. `changes` are texts that stand in its place."""

    def __init__(self, file, start, end, kind, form, changes, function):
        self.file, self.start, self.end = file, start, end
        self.kind, self.form, self.changes, self.function = kind, form, changes, function
        self.inner = []
        self.numbers = []  # of its mutants, in the order of `changes`


def without_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)
    return re.sub(r"//[^\n]*", lambda m: " " * len(m.group()), text)


def one_line(text):
    return " ".join(without_comments(text).split())


def changed_constant(text):
    """The texts that stand for other values of a literal."""
    if text in ("true", "false"):
        return ["false" if text == "true" else "true"]
    if text.startswith("'"):
        return []
    match = re.fullmatch(r"(0x[0-9a-fA-F']+|[0-9'.]+(?:e[-+]?[0-9]+)?)([uUlLfF]*)", text)
    if not match:
        return []
    digits, suffix = match.group(1).replace("'", ""), match.group(2)
    if not digits.startswith("0x") and re.search(r"[.e]", digits):
        value = float(digits)
        others = [1.0] if value == 0 else [2 * value, value / 2]
        return [repr(v) + suffix for v in others]
    value = int(digits, 0)
    if value == 0:
        others = [1]
    elif value < 16:
        others = [value + 1, value - 1]
    else:
        others = [2 * value, value // 2]
    return [str(v) + suffix for v in others]


class Finder:
    def __init__(self, root, file, arguments):
        self.file = file
        self.path = f"{root}/{file}"
        self.bytes = open(self.path, "rb").read()
        self.text = self.bytes.decode("latin-1")  # offsets of libclang are bytes
        self.sites = []
        self.seen = set()
        unit = clang.cindex.Index.create().parse(self.path, ["-x", "c++", *arguments])
        wrong = [d for d in unit.diagnostics if d.severity >= clang.cindex.Diagnostic.Error]
        if wrong:
            raise RuntimeError(f"{file}: clang cannot read it: {wrong[0]}")
        for cursor in unit.cursor.get_children():
            if self.here(cursor):
                self.walk(cursor, None, [], False)

    def here(self, cursor):
        return cursor.location.file is not None and cursor.location.file.name == self.path

    def source(self, cursor):
        return self.text[cursor.extent.start.offset:cursor.extent.end.offset]

    def add(self, cursor, kind, form, changes, function):
        start, end = cursor.extent.start.offset, cursor.extent.end.offset
        if changes and start < end and (start, end, kind) not in self.seen:
            self.seen.add((start, end, kind))
            self.sites.append(Site(self.file, start, end, kind, form, changes, function))

    def operator_between(self, left, right):
        text = without_comments(self.text[left.extent.end.offset:right.extent.start.offset])
        return text.strip().strip("()").strip()

    def is_part_of_the_type(self, child, parent):
        """An array size or a template argument of what is declared, not its value."""
        head = without_comments(self.text[parent.extent.start.offset:child.extent.start.offset])
        return "=" not in head and "{" not in head and "(" not in head

    def walk(self, cursor, function, parents, compiler_time):
        kind = cursor.kind
        if kind in (K.STATIC_ASSERT, K.ENUM_CONSTANT_DECL, K.TYPE_ALIAS_DECL, K.TYPEDEF_DECL,
                    K.USING_DECLARATION, K.FRIEND_DECL):
            return
        children = list(cursor.get_children())
        if kind in FUNCTIONS:
            parent = cursor.semantic_parent
            scope = parent.spelling + "::" if parent is not None and parent.kind in (
                K.CLASS_DECL, K.STRUCT_DECL, K.CLASS_TEMPLATE) else ""
            function = scope + cursor.spelling.split("<")[0]
            if re.search(r"=\s*(default|delete)\s*$", self.source(cursor)):
                return
            compiler_time = False
        elif kind == K.LAMBDA_EXPR:
            compiler_time = False
        elif kind == K.VAR_DECL:
            head = self.text[cursor.extent.start.offset:cursor.extent.end.offset]
            if re.match(r"(?:static\s+|inline\s+)*constexpr\b", head):
                compiler_time = True
        if kind == K.CASE_STMT:
            children = children[1:]  # the label is for the compiler
        if kind == K.IF_STMT and re.match(r"if\s+constexpr\b", self.source(cursor)):
            children = children[1:]
        if not compiler_time:
            self.consider(cursor, children, function, parents)
        declares = kind in FUNCTIONS or kind in (K.FIELD_DECL, K.VAR_DECL, K.PARM_DECL)
        for child in children:
            if child.location.file is not None and child.location.file.name != self.path:
                continue
            if child.kind.is_attribute():
                continue
            if declares and child.kind.is_expression() and self.is_part_of_the_type(child, cursor):
                continue
            self.walk(child, function, parents + [cursor], compiler_time)

    def consider(self, cursor, children, function, parents):
        kind = cursor.kind
        place = function or "(declarations)"
        if kind in (K.INTEGER_LITERAL, K.FLOATING_LITERAL, K.CXX_BOOL_LITERAL_EXPR):
            self.add(cursor, "constant", EXPRESSION, changed_constant(self.source(cursor)), place)
        elif kind == K.BINARY_OPERATOR and len(children) == 2:
            self.binary(cursor, children[0], children[1], place, parents)
        elif kind == K.COMPOUND_ASSIGNMENT_OPERATOR and len(children) == 2:
            self.binary(cursor, children[0], children[1], place, parents)
        elif kind == K.CALL_EXPR and cursor.spelling.startswith("operator") and len(children) == 3:
            name = cursor.spelling[len("operator"):].strip()
            if name in FLIPPED or name in ASSIGNMENTS:
                self.binary(cursor, children[0], children[2], place, parents, name)
        elif kind == K.UNARY_OPERATOR and len(children) == 1:
            text, operand = self.source(cursor), self.source(children[0])
            for step in ("++", "--"):
                if one_line(text) in (step + one_line(operand), one_line(operand) + step):
                    changes = [operand if self.is_used(cursor, parents) else ";"]
                    changes.append(text.replace(step, INVERSE[step]) +
                                   ("" if self.is_used(cursor, parents) else ";"))
                    if self.steps_a_loop(cursor, parents):
                        return  # leaving it out is an endless loop, whatever the program does
                    self.assignment(cursor, changes, place, parents)
        elif kind == K.RETURN_STMT:
            self.jump(cursor, parents, place)
        elif kind in (K.CONTINUE_STMT, K.BREAK_STMT):
            self.jump(cursor, parents, place)
        elif kind == K.DECL_REF_EXPR:
            self.named_constant(cursor, place)

    def steps_a_loop(self, cursor, parents):
        loop = next((p for p in reversed(parents) if p.kind in STATEMENT_PARENTS), None)
        if loop is None or loop.kind != K.FOR_STMT:
            return False
        parts = list(loop.get_children())
        return not (parts and parts[-1].extent.start.offset <= cursor.extent.start.offset)

    def is_used(self, cursor, parents):
        parent = parents[-1]
        while parent.kind == K.UNEXPOSED_EXPR and parents:
            parents = parents[:-1]
            parent = parents[-1]
        if parent.kind not in STATEMENT_PARENTS:
            return True
        if parent.kind in (K.IF_STMT, K.WHILE_STMT, K.CXX_FOR_RANGE_STMT, K.DO_STMT, K.FOR_STMT):
            end = without_comments(self.text[cursor.extent.end.offset:])
            return not end.lstrip().startswith(";") or parent.kind == K.FOR_STMT and not self.is_body(
                cursor, parent)
        return False

    def is_body(self, cursor, loop):
        parts = list(loop.get_children())
        return bool(parts) and parts[-1].extent.start.offset <= cursor.extent.start.offset

    def binary(self, cursor, left, right, place, parents, name=None):
        operator = name or self.operator_between(left, right)
        a, b = self.source(left), self.source(right)
        if name is not None and operator not in self.text[left.extent.end.offset:
                                                          right.extent.start.offset]:
            return  # a rewritten one
        if operator in FLIPPED:
            others = FLIPPED[operator]
            self.add(cursor, "comparison", EXPRESSION,
                     [f"{a} {other} {b}" for other in others], place)
        elif operator in ASSIGNMENTS:
            if self.is_used(cursor, parents):
                changes = [a]
            else:
                changes = [";"]
                if operator in INVERSE and name is None:
                    changes.append(f"{a} {INVERSE[operator]} {b};")
            self.assignment(cursor, changes, place, parents)

    def assignment(self, cursor, changes, place, parents):
        if self.is_used(cursor, parents):
            self.add(cursor, "assignment", EXPRESSION, changes[:1], place)
            return
        self.add(cursor, "assignment", STATEMENT, changes, place)

    def jump(self, cursor, parents, place):
        """An early exit: the last thing that an `if` without an `else` does, with more behind it."""
        at = len(parents) - 1
        end = cursor.extent.end.offset
        while at >= 0 and parents[at].kind in (K.COMPOUND_STMT, K.UNEXPOSED_STMT):
            if list(parents[at].get_children())[-1].extent.end.offset > end:
                return
            end = parents[at].extent.end.offset
            at -= 1
        if at < 0 or parents[at].kind != K.IF_STMT or parents[at].extent.end.offset > end + 1:
            return
        if cursor.kind == K.RETURN_STMT and not self.goes_on_behind(parents[:at + 1]):
            return
        self.add(cursor, "return", STATEMENT, [";"], place)

    def goes_on_behind(self, parents):
        end = parents[-1].extent.end.offset
        for parent in reversed(parents[:-1]):
            if parent.kind in FUNCTIONS or parent.kind == K.LAMBDA_EXPR:
                return False
            if parent.kind in (K.FOR_STMT, K.WHILE_STMT, K.DO_STMT, K.CXX_FOR_RANGE_STMT):
                return True
            if parent.kind == K.COMPOUND_STMT and \
                    list(parent.get_children())[-1].extent.start.offset >= end:
                return True
        return False

    def named_constant(self, cursor, place):
        target = cursor.referenced
        if target is None or target.kind != K.VAR_DECL or target.spelling in SENTINELS:
            return
        if target.location.file is None or "/core/" not in target.location.file.name and \
                "/backends/modelled/" not in target.location.file.name:
            return
        start, end = target.extent.start, target.extent.end
        text = open(target.location.file.name, "rb").read()[start.offset:end.offset].decode("latin-1")
        if not re.match(r"(?:static\s+|inline\s+)*constexpr\b", text) or "[" in text.split("=")[0]:
            return
        if not re.search(r"=\s*[^=]*\d", text) and not re.search(r"\{[^}]*\d", text):
            return
        if target.type.get_canonical().kind not in ARITHMETIC:
            return
        name = self.source(cursor)
        self.add(cursor, "constant", EXPRESSION, [f"({name} + {name} / 2 + 1)"], place)


def nest(sites):
    """Puts sites into those around them; returns the outermost, in order."""
    outer, stack = [], []
    for site in sorted(sites, key=lambda s: (s.start, -s.end)):
        while stack and stack[-1].end <= site.start:
            stack.pop()
        if stack and site.end > stack[-1].end:
            raise RuntimeError(f"{site.file}: sites overlap at {site.start}")
        (stack[-1].inner if stack else outer).append(site)
        stack.append(site)
    return outer


def flat(text):
    """A change may be cut out of several lines; the lines of the rewritten file stay as they were."""
    return " ".join(without_comments(text).split("\n"))


def rewritten(text, sites, start=0, end=None):
    end = len(text) if end is None else end
    out, at = [], start
    for site in sites:
        out.append(text[at:site.start])
        original = rewritten(text, site.inner, site.start, site.end)
        at = site.end
        if site.form == EXPRESSION:
            for number, change in zip(site.numbers, site.changes):
                original = f"(kvhaul_mutant({number}) ? ({flat(change)}) : ({original}))"
        else:
            if site.kind != "planted":  # the semicolon of a statement is none of its own
                at = text.index(";", site.end) + 1
                if without_comments(text[site.end:at]).strip() != ";":
                    raise RuntimeError(f"{site.file}: no end of the statement {text[site.start:at]}")
            original += text[site.end:at]
            for number, change in zip(site.numbers, site.changes):
                original = f"{{ if (kvhaul_mutant({number})) {{ {flat(change)} }} else {{ {original} }} }}"
        out.append(original)
    out.append(text[at:end])
    return "".join(out)


class Lines:
    def __init__(self, text):
        self.starts = [0] + [m.end() for m in re.finditer("\n", text)]

    def number(self, offset):
        return bisect.bisect_right(self.starts, offset)
