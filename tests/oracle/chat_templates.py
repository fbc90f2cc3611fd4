"""Writes tests/data/chat-templates/golden.json: what Jinja2 itself prints for the cases below.

The environment is the one in which chat templates are commonly rendered: a sandbox without changes
of values, trimmed blocks, break and continue, plain JSON, raise_exception, strftime_now and the
generation tag. Run it again after a change of the cases: python3 tests/oracle/chat_templates.py
(needs jinja2 3.1). Tests read the file only.
"""

import copy
import datetime
import json
import os
import pathlib
import time

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1_700_000_000  # 2023-11-14 22:13:20 UTC


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.TemplateError(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def make_environment():
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW).strftime(form)
    return environment


VALUES = {
    "x": 5, "y": 2.5, "z": -3, "big": 2**53 + 1, "s": "Hello wörld ", "t": "a,b,,c", "u": "  \tμΑß\n'q\" ", "l": [3, 1, 2],
    "m": ["b", "A", "c", "a"], "d": {"b": 1, "a": {"c": [1, 2]}, "items": 7}, "n": None, "e": [], "es": "", "b": True,
    "f": False, "ms": [{"role": "user", "n": 1}, {"role": "assistant", "n": 3}, {"role": "user"}],
    "nest": [[1, [2, "x"]], {"k": [None]}], "lines": "one\ntwo\r\n\nthree\u2028four\n", "wide": "日本語 😀 e\u0301",
    "mixed": [1, "a", None, 2.0, True, "B", [1], {"k": 1}],
}

# One expression a line.
EXPRESSIONS = {
    "literals": r"""
1
1_000
0
1.5
1e3
1.5e-7
2E+2
'a' "b" 'c'
'it\'s' ~ "\"q\""
'\x41\u00e9\U0001F600\101\n\t\\'
'\d\é'
'a\
b'
true, True, false, False, none, None
[]
[1, 'a', 2.0, none, true,]
{}
{'a': 1, 'b': {'c': [1]}, 3: 4, none: 5, 1.5: 6,}
{'a': 1, 'a': 2}
{1: 'i', 1.0: 'f', true: 'b'}
()
(1,)
(1, 'a')
1, 2
[()]
""",
    "printing": r"""
['it\'s', "\"", "both ' and \""]
['\n\t\r\\', '\x07\x7f\xa0\xad\u200b\u2028', 'é日😀']
[1.0, 1e16, 1e15, 123456789012345680.0, 0.0001, 0.00001, 1e-7, 1.5e300, -0.0]
[0.1 + 0.2, 1 / 3, 2.0 ** 70]
1e400, -1e400, [1e400]
1e400 - 1e400
undefined_name
[undefined_name, {'k': undefined_name}]
nest
mixed
d.keys()
d.values()
d.items()
none ~ true ~ 1.0 ~ [] ~ undefined_name
""",
    "arithmetic": r"""
1 + 2 * 3 - 4
7 / 2
6 / 3
7 // 2, -7 // 2, 7 // -2, -7 // -2
7 % 3, -7 % 3, 7 % -3, -7 % -3
7.5 // 2, -7.5 // 2, 7.5 % -2, -7.5 % 2, 0.0 % -2
2 ** 10, 2 ** -1, 2 ** 0.5, -2 ** 2, 2 ** 3 ** 2
1 / 0
1 // 0
1.0 % 0
0 ** -1
true + true, true * 3, -true, +true
1 + 2.0
'a' + 'b'
'a' * 3, 3 * 'a', 'a' * -1, [1] * 2, (1, 2) * 2
[1] + [2], (1,) + (2,)
[1] + (2,)
'a' + 1
1 + 'a'
'a' + none
'a' ~ 1 ~ [1]
undefined_name + 1
-undefined_name
- x, + x, - y, -'a'
big / 3, big // 3, big % 10
x - - 3
1 ~ 2 + 3
""",
    "comparison": r"""
1 < 2, 2 <= 2, 3 > 4, 4 >= 4, 1 == 1.0, 1 != 2, true == 1
1 < 2 < 3, 1 < 3 < 2, 1 == 1 != 2
1 < 2 > undefined_name
2 < 1 > undefined_name
'a' < 'b', 'Z' < 'a', 'ä' > 'z', 'a' < 'aa', '' < 'a'
[1, 2] < [1, 3], [1] < [1, 0], (1, 'a') < (1, 'b')
[1, 2] == [1, 2.0], [1] == (1,), {'a': 1} == {'a': 1.0}, {'a': 1, 'b': 2} == {'b': 2, 'a': 1}
1 < 'a'
none < 1
none == none, none == false, '' == none, undefined_name == undefined_name, undefined_name == none
big == big + 0.0, big > 2.0 ** 53, big <= 2.0 ** 53
range(3) == range(3), range(3) == [0, 1, 2]
'ell' in s, '' in s, 'x' not in s
1 in l, 9 in l, 1.0 in l, '1' in l, none in mixed, [1] in mixed
'b' in d, 'zz' in d, 'zz' not in d
1 in 'a'
1 in none
1 in undefined_name
1 in range(3), 1 in d.values(), ('b', 1) in d.items()
[1] in d
not 1 in l
not x == 5 and true
""",
    "logic": r"""
1 and 2, 0 and 2, 1 or 2, 0 or 2, '' or 'd', none or [] or {}
not 0, not '', not [], not {}, not none, not 0.0, not undefined_name, not 'a'
true or undefined_name.x
false and undefined_name.x
1 if true else 2, 1 if false else 2, 1 if false
(1 if false) is defined
'a' if 0 else 'b' if 0 else 'c'
x if x > 3 and not f or b
not not x
1 or 0 and 0
""",
    "access": r"""
d.b, d['b'], d.a.c[1], d['a']['c'][-1]
d.zz, d['zz']
d.zz.more
d.items is callable, d['items']
l[0], l[-1], l[7], l['x']
l.0, nest.0.1.1
s[0], s[-1], s[99]
wide[0], wide[4], wide[-1]
ms[0].role, ms[-1]['role']
ms[2].n is defined
x.foo, none.foo, (1, 2)[0], range(5)[2], range(5)[-1]
undefined_name.foo
undefined_name['foo']
d[[1]]
d.keys()[0]
s.zz
l.append(1)
d.update({})
d[none], {none: 1}[none], {1: 'one'}[true]
""",
    "slices": r"""
l[1:], l[:1], l[:], l[::-1], l[::2], l[-2:], l[:-1], l[5:], l[-9:9]
l[2:0:-1], l[::-2], l[-1:-3:-1], l[0:2:1]
s[1:4], s[::-1], s[-3:], s[10:2:-2], s[:0]
wide[::-1], wide[0:3], wide[4:5]
(1, 2, 3)[1:], (1, 2, 3)[::-1]
ms[1:][0].role
l[none:2], l[x:], l[true:]
l[::0]
l['a':]
n[1:]
d[1:]
l[1:][0], l[1:].0
""",
    "strings": r"""
s.upper(), s.lower(), s.title(), s.capitalize(), 'ÀÉ'.lower(), 'straße'.upper(), 'ﬁn'.upper(), 'ﬁn'.capitalize()
u.strip(), u.lstrip(), u.rstrip(), 'xxaxx'.strip('x'), 'xyaxy'.lstrip('yx'), 'aé'.rstrip('éz'), '\u3000a\x1c'.strip()
t.split(','), t.split(',', 1), t.split(','  , maxsplit=2), t.rsplit(',', 1), t.split('zz'), t.split(none), t.rsplit(none, 1)
'  a  b c '.split(), '  a  b c '.split(none, 1), '  a  b c '.rsplit(none, 1), ''.split(), ''.split(','), ' a '.rsplit(none, 0)
'abab'.split('ab'), 'aaa'.rsplit('aa'), 'aaa'.split('aa')
t.split('')
lines.splitlines(), lines.splitlines(true), ''.splitlines()
s.startswith('Hell'), s.startswith(''), s.endswith(' '), s.startswith(('x', 'H')), s.endswith(('x',)), s.startswith(())
s.startswith(1)
'aXbXc'.replace('X', '--'), 'aXbXc'.replace('X', '', 1), 'ab'.replace('', '.'), 'éa'.replace('', '.', 2), 'a'.replace('b', 'c', -1)
'banana'.find('an'), 'banana'.rfind('an'), 'banana'.find('x'), 'éàx'.find('x'), 'éàx'.find(''), 'éàx'.rfind('')
'banana'.count('an'), 'aaaa'.count('aa'), 'éà'.count('')
','.join(m), ''.join([]), ', '.join('abc'), '-'.join(d)
','.join([1])
'abc'.removeprefix('a'), 'abc'.removesuffix('bc'), 'abc'.removeprefix('x'), 'abc'.removesuffix('')
' \n'.isspace(), ''.isspace(), 'a '.isspace(), '12'.isdigit(), ''.isdigit(), '1a'.isdigit()
s.strip().split(' ')[-1].upper()
""",
    "dicts": r"""
d.get('b'), d.get('zz'), d.get('zz', 4), d.get('a').get('c')
d.items()|list, d.keys()|list, d.values()|list, d.items()|length
dict(a=1, b='x'), dict({'a': 1}, b=2), dict([('a', 1), ['b', 2]]), dict()
dict(1)
{'a': 1}.items()|first
d|items|list, undefined_name|items|list
n|items|list
d|length, {}|length
d|list, d|first, d|last
""",
    "tests": r"""
x is defined, undefined_name is defined, undefined_name is undefined, n is defined, d.zz is not defined
n is none, x is none, undefined_name is none
s is string, x is string, n is not string
x is number, y is number, b is number, s is number
x is integer, y is integer, b is integer
x is float, y is float
b is boolean, x is boolean, b is true, b is false, f is false, x is true
d is mapping, l is mapping, l is iterable, s is iterable, x is iterable, undefined_name is iterable, d is iterable
l is sequence, s is sequence, d is sequence, x is sequence, undefined_name is sequence, range(2) is sequence, d.keys() is sequence
range is callable, s.upper is callable, x is callable, undefined_name is callable
x is odd, x is even, 4 is even, y is odd, 4 is divisibleby(2), 4 is divisibleby 3
x is equalto 5, x is eq(5), x is ne 5, x is lt 6, x is le 5, x is gt 6, x is ge(5), x is lessthan(9), x is greaterthan 1
1 is in l, 9 is in l, 'a' is in 'abc', 9 is not in l
n is sameas none, b is sameas true, b is sameas false, x is sameas true
x is not none and s is string
not x is none
x is odd or n.foo is defined
x is string == false
x is defined if b else 7
""",
    "filters of text": r"""
u|trim, 'xxaxx'|trim('x'), 5|trim, n|trim, undefined_name|trim
s|upper, s|lower, 'hELLO wORLD'|capitalize, ''|capitalize, 5|upper, n|upper
"they're bill's (friends) foo-bar {a} <b> [c]"|title, 'ÉCOLE été'|title
'aXbX'|replace('X', 'y'), 'aXbX'|replace('X', 'y', 1), 151|replace(1, 2), none|replace('o', '0')
s|string, 5|string, [1]|string, n|string ~ 'x'
'<a href="x">&\'</a>'|e
'<'|escape ~ '<'
'<'|e + '>' + ('&'|safe)
'>' + ('<'|safe)|e
'<'|safe is escaped, 5|e|length, '<'|e == '&lt;', '<'|e is string
'a\nb\n\nc\n'|indent, 'a\nb'|indent(2, true), 'a\n\nb'|indent(2, blank=true), 'a\nb'|indent('> '), ''|indent(2, true), 'a\nb'|indent(width=1, first=true)
5|indent
m|join, m|join(', '), [1, none, 2.0]|join('-'), 'abc'|join('.'), ms|join(',', attribute='role'), []|join, d|join, undefined_name|join
5|join
""",
    "tojson": r"""
d|tojson, nest|tojson, 'é"\\\n\t\b\f\x01\x7f</script>'|tojson, [1.0, 1e20, none, true]|tojson, (1, 2)|tojson
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
d|tojson(indent=2), []|tojson(indent=2), {}|tojson(indent=2), [[], {}, [1]]|tojson(indent=1), [1]|tojson(indent=0), [1]|tojson(indent='--')
{'b': 1, 'a': [2]}|tojson(sort_keys=true), [1, {'a': 2}]|tojson(separators=(',', ':')), ['é😀\x7f']|tojson(ensure_ascii=true), ['é']|tojson(true)
d|tojson(indent=2, separators=(', ', ' = '))
1e400|tojson
undefined_name|tojson
range(3)|tojson
ms|map(attribute='role')|tojson
ms|map(attribute='role')|list|tojson
""",
    "filters of numbers": r"""
'42'|int, ' 42 '|int, '42.9'|int, 'x'|int, 'x'|int(7), 'x'|int(default=8), y|int, -2.7|int, true|int, n|int, []|int, '1_000'|int, '-7'|int, '+7'|int, '1e3'|int, ''|int
'1.5'|float, 'x'|float, 'x'|float(2), 3|float, '1e3'|float, n|float(1), '.5'|float, '5.'|float
[es ~ 'inf']|map('float')|first, (es ~ '-Infinity')|float, (es ~ 'nan')|float
undefined_name|int
-5|abs, (-5)|abs, -2.5|abs, true|abs
'a'|abs
2.5|round, 3.5|round, -2.5|round, 2.675|round(2), 5|round, 5|round(1), 1234.5678|round(2), 2.1|round(0, 'ceil'), 2.19|round(1, 'floor'), -2.5|round(method='ceil')
'a'|round
""",
    "filters of lists": r"""
l|length, s|length, wide|length, es|count, undefined_name|length
5|length
l|first, l|last, s|first, s|last, []|first is defined, d|first, (1, 2)|last
l|list, 'ab'|list, (1, 2)|list, range(3)|list, undefined_name|list
undefined_name|default('D'), n|default('D'), n|default('D', true), es|d('D', boolean=true), undefined_name|default, d.zz|d(1)
l|reverse|list, s|reverse, (1, 2)|reverse|list, range(3)|reverse|list, d|reverse|list, (l|select)|reverse
l|sort, l|sort(reverse=true), m|sort, m|sort(case_sensitive=true), ms|sort(attribute='role'), ['b', 'B', 'a']|sort(true), ms[:2]|sort(attribute='role,n'), 'cab'|sort
mixed|sort
m|unique|list, ['a', 'A', 'b']|unique|list, ['a', 'A']|unique(true)|list, ms|unique(attribute='role')|list, [1, 1.0, true, 2]|unique|list
d|dictsort, {'b': 1, 'A': 2}|dictsort, {'b': 1, 'A': 2}|dictsort(true), {'a': 2, 'b': 1}|dictsort(by='value'), {'a': 2, 'b': 1}|dictsort(reverse=true)
l|min, l|max, m|min, m|max(case_sensitive=true), ms[:2]|max(attribute='n'), []|min is defined
l|sum, [1, 2.5]|sum, ms[:2]|sum(attribute='n'), ms[:2]|sum('n', 10), []|sum, [[1], [2]]|sum(start=[])
['a']|sum
""",
    "map and select": r"""
m|map('upper')|list, ms|map(attribute='role')|join(','), ms|map(attribute='n', default=0)|list, nest|map('length')|list, ms|map('tojson')|list
m|map('replace', 'a', 'X')|list, ['1', '2']|map('int')|sum, [[1, 2]]|map(attribute=0)|list, [{'a': {'b': 1}}]|map(attribute='a.b')|list, [[[7]]]|map(attribute='0.0')|list
none|map('upper')|list
mixed|select|list, mixed|reject|list, mixed|select('string')|list, mixed|reject('none')|list, l|select('gt', 1)|list, l|select('in', [1, 2])|list, l|reject('odd')|list
ms|selectattr('n')|list, ms|selectattr('n', 'defined')|map(attribute='n')|list, ms|selectattr('role', 'equalto', 'user')|list|length, ms|rejectattr('role', '==', 'user')|list, ms|rejectattr('n')|list
ms|selectattr('role', 'in', ['user'])|first
(ms|map(attribute='role'))|first
(l|select)|length
""",
    "functions": r"""
range(3)|list, range(1, 4)|list, range(5, 0, -2)|list, range(0)|list, range(3, 1)|list, range(-2)|list
range(1, 2, 0)
range('a')
range(200000)
range(3)|length, range(2) is iterable
namespace(a=1).a, namespace({'a': 2}).a, namespace().a is defined
strftime_now('%Y-%m-%d %H:%M:%S|%d %b %Y|%B %A %j|%f|%z|%Z|%%'), strftime_now('')
raise_exception('no')
undefined_name()
x()
""",
    "filters bind": r"""
-1|abs, 1 + -2|abs, 'a' ~ 'b'|upper, ('a' ~ 'b')|upper, [1, 2]|length + 1, not e|length
'a,b'|replace(',', ';')|upper, 'x'|upper|lower|length
5|string|length is even
d.a.c|length, d['a'].c|join('-')|upper
""",
}

# Whole templates, with the values above.
TEMPLATES = {
    "white space": [
        "a\n{% if x %}\nb\n{% endif %}\nc\n",
        "a\n  {% if x %}  \n  b\n  {% endif %}\n  c\n\n",
        "a \n {%- if x -%} \n b \n {%- endif -%} \n c",
        "a\n  {%+ if x +%}\nb{%+ endif +%}\n c",
        "  {{ x }}  \n  {{- x -}}  \n  {{ x }}\n",
        "{# c #}\na\n  {# c\nd #}\n  b {#- e -#} f\n{#+ g +#}\n",
        "x{% if x %} y {% endif %} z {% if x %}\t\n{% endif %}\n",
        "a\r\nb{% if x %}\r\nc\r{% endif %}\rd\r\n",
        "{% raw %}{{ x }} {% if %}{# #}{% endraw %}\n{%- raw -%}  a\n  {%- endraw +%}\n  {% raw %} b {% endraw %}c",
        "{% set q = 1 %}\n\n{% set q = 2 %}\n{{ q }}\n\n",
        "\u00a0 {%- if x -%} \u2003 a{% endif %}",
        "{{ '}}' }}{{ '%}' }}{{ {'a': {'b': 1}} }}{{ {'a':{}}}}",
        "{{x}}{%if x%}y{%endif%}{%-if x-%} z {%-endif%}",
        "no tags at all { } % # {",
        "",
        "\n",
    ],
    "if": [
        "{% if n %}a{% elif x > 9 %}b{% elif x == 5 %}c{% else %}d{% endif %}",
        "{% if n %}a{% else %}{% if x %}b{% endif %}{% endif %}{% if es %}c{% endif %}",
        "{% if x in l or x is odd and not n %}a{% endif %}{% if (x, y) %}t{% endif %}",
        "{% if undefined_name %}a{% else %}b{% endif %}{% if undefined_name is defined and undefined_name.x %}c{% endif %}",
        "{% if x %}{% else %}{% endelse %}{% endif %}",
        "{% if x %}",
        "{% endif %}",
        "{% if %}a{% endif %}",
    ],
    "for": [
        "{% for i in l %}{{ i }}{{ ',' if not loop.last }}{% endfor %}",
        "{% for i in l %}{{ [loop.index, loop.index0, loop.revindex, loop.revindex0, loop.first, loop.last, loop.length, loop.depth, "
        "loop.depth0, loop.previtem, loop.nextitem, loop.cycle('a', 'b')] }}\n{% endfor %}",
        "{% for i in [] %}a{% else %}none{% endfor %}{% for i in l %}{{ i }}{% else %}none{% endfor %}",
        "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
        "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
        "{% for i in range(10) if i is odd %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% endfor %}",
        "{% for m in ms if m.role == 'user' %}{{ loop.first }}{{ m.n }}{% else %}nobody{% endfor %}",
        "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
        "{% for i in l %}{% break %}{% else %}else{% endfor %}|{% for i in l %}{% continue %}{% else %}else{% endfor %}|"
        "{% for i in l %}{% if loop.first %}{% continue %}{% endif %}{% else %}else{% endfor %}",
        "{% for i in l %}{% for j in m %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
        "{% for c in wide %}[{{ c }}]{% endfor %}{% for i in undefined_name %}a{% endfor %}",
        "{% for i in 1, 2, 3 %}{{ i }}{% endfor %}{% for i in (l if f else m) %}{{ i }}{% endfor %}",
        "{% for i in 5 %}{% endfor %}",
        "{% for i in none %}{% endfor %}",
        "{% for a, b in l %}{% endfor %}",
        "{% for m in ms %}{% if loop.previtem is defined and loop.previtem.role != m.role %}!{% endif %}{{ m.role }}{% endfor %}",
        "{% for i in l %}{{ loop.nope is defined }}{% endfor %}{{ loop is defined }}",
        "{% for i in l|select('odd') %}{{ i }}{{ loop.last }}{% endfor %}{% set g = l|select %}{% for i in g %}{{ i }}{% endfor %}"
        "{% for i in g %}again{% endfor %}",
        "{% break %}",
        "{% for loop in l %}{{ loop }}{% endfor %}",
    ],
    "set": [
        "{% set a = 1 %}{{ a }}{% set a, b = 2, 3 %}{{ a }}{{ b }}{% set (a, b) = [4, 5] %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}",
        "{% set q %}  a{{ x }}\nb {% endset %}[{{ q }}]{% set q | trim | upper %} x {% endset %}[{{ q }}]",
        "{% set ns = namespace(a=1, b=[]) %}{% for i in l %}{% set ns.a = ns.a + i %}{% set ns.b = ns.b + [i] %}{% endfor %}"
        "{{ ns.a }}{{ ns.b }}{% set ns.c = ns %}{{ ns.c.a }}{{ ns.zz is defined }}{{ ns['a'] }}",
        "{% set a = 1 %}{% for i in l %}{{ a }}{% set a = i %}{{ a }}{% endfor %}{{ a }}",
        "{% if x %}{% set a = 1 %}{% endif %}{{ a }}{% if n %}{% set c = 1 %}{% endif %}{{ c is defined }}",
        "{% set d.x = 1 %}",
        "{% set a, b = [1] %}",
        "{% set x = x + 1 %}{{ x }}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}",
        "{% for i in l %}{{ s }}{% set s = 'new' %}{{ s }}{% endfor %}{{ s }}",
        "{% for i in l %}{% with q = 1 %}{{ s }}{% endwith %}{% set s = 'new' %}{% endfor %}",
        "{% for i in l %}{{ x }}{% endfor %}{% set x = 1 %}{{ x }}",
        "{% if n %}{% set x = 1 %}{% elif x %}{{ x }}{% set x %}a{% endset %}{% else %}{% set x = 2 %}{% endif %}{{ x }}",
        "{% set messages = ms[1:] %}{{ messages|length }}{% set range = 5 %}{{ range }}",
        "{% set 1 = 2 %}",
        "{% set a.b.c = 2 %}",
    ],
    "macro": [
        "{% macro m(a, b=2, c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=1, a=2) }}{{ m() }}",
        "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m('x')|upper ~ '!' }}{{ m(1) is string }}",
        "{% macro fact(n) %}{{ n if n < 2 else n * (fact(n - 1)|int) }}{% endmacro %}{{ fact(6) }}",
        "{% macro m() %}{{ later }}{{ x }}{% endmacro %}{% set later = 'L' %}{{ m() }}{% for x in l %}{{ m() }}{% endfor %}",
        "{% macro m(a) %}{% set a = a + 1 %}{% set x = 9 %}{{ a }}{% endmacro %}{{ m(1) }}{{ x }}{{ a is defined }}",
        "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
        "{% macro m(a) %}{% endmacro %}{{ m(z=2) }}",
        "{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}",
        "{% macro m(a=1, b) %}{% endmacro %}",
        "{% macro m(l) %}{% for i in l %}{% if i is iterable and i is not string %}({{ m(i) }}){% else %}{{ i }}{% endif %}{% endfor %}"
        "{% endmacro %}{{ m([1, [2, [3, 'a']], 4]) }}",
        "{%- macro m(a) -%}\n  {{ a }}\n{%- endmacro -%}\n{{ m(1) }}",
        "{{ m is defined }}{% macro m() %}{% endmacro %}{{ m is defined }}{{ m is callable }}{{ m() == '' }}",
    ],
    "blocks": [
        "{% filter upper %}a{{ s }}{% endfilter %}{% filter trim|replace('a', 'b') %} aa {% endfilter %}{% filter indent(2, true) %}a\nb{% endfilter %}",
        "{% with a = 1, b = x %}{{ a + b }}{% set a = 2 %}{{ a }}{% endwith %}{{ a is defined }}{% with %}{% set x = 1 %}{% endwith %}{{ x }}",
        "{% with x = 1, q = x %}{{ x }}{{ q }}{% endwith %}",
        "{% generation %}a{{ x }}{% set x = 1 %}{% endgeneration %}{{ x }}\n{%- generation -%} b {%- endgeneration %}\n c",
        "{% for m in ms %}{% generation %}{{ loop.index }}{{ m.role }}{% endgeneration %}{% endfor %}",
        "{# {{ x }} {% if %} #}a",
        "{{ x",
        "{% if x",
        "{# x",
        "{{ x }",
        "{{ (1, 2] }}",
        "{{ 'a }}",
        "{{ }}",
        "{{ 1 + }}",
        "{{ a b }}",
        "{{ ! }}",
        "{% nosuchtag %}",
    ],
}

# Templates of the kinds that chat models come with, written for this test.
CHATS = {
    "chatml": """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
""",
    "alternating": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] + '\\n\\n' %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set system = '' %}
    {%- set turns = messages %}
{%- endif %}
{%- for message in turns %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate, and ' + message['role'] + ' does not') }}
    {%- endif %}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
    {{- '<turn>' + role + '\\n' + (system if loop.first else '') }}
    {%- if message['content'] is string %}
        {{- message['content'] | trim }}
    {%- elif message['content'] is iterable %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' %}{{ '<image>' }}{% elif part['type'] == 'text' %}{{ part['text'] | trim }}{% endif %}
        {%- endfor %}
    {%- else %}
        {{- raise_exception('strange content') }}
    {%- endif %}
    {{- '</turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif -%}
""",
    "thinking": """{%- if tools %}
    {{- '[system]\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>[end]\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '[system]\\n' + messages[0].content + '[end]\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and not message.content.startswith('<answer>') %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '[' + message.role + ']\\n' + content + '[end]\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if message.thought is defined and message.thought is not none %}
            {%- set thought = message.thought %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '[assistant]\\n' }}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- if (loop.first and content) or not loop.first %}{{- '\\n' }}{%- endif %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '<call>{"name": "' ~ call.name ~ '", "arguments": ' }}
            {{- call.arguments if call.arguments is string else call.arguments | tojson }}
            {{- '}</call>' }}
        {%- endfor %}
        {{- '[end]\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '[user]' }}{%- endif %}
        {{- '\\n<answer>' ~ message.content ~ '</answer>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '[end]\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant]\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
""",
    "schema": """{%- macro kind(spec) -%}
    {%- if spec.enum is defined -%}
        {{- spec.enum | map('tojson') | join(' | ') -}}
    {%- elif spec.type == 'array' -%}
        {{- kind(spec['items']) ~ '[]' -}}
    {%- elif spec.type == 'object' -%}
        { {%- for name, inner in (spec.properties or {}) | dictsort -%}
            {{- name -}}{{- '?' if name not in spec.required | default([]) -}}: {{ kind(inner) -}}{{- ', ' if not loop.last -}}
        {%- endfor -%} }
    {%- elif spec.type is sequence and spec.type is not string -%}
        {{- spec.type | join(' | ') -}}
    {%- else -%}
        {{- spec.type | default('any') -}}
    {%- endif -%}
{%- endmacro -%}
{%- macro describe(tool, marker='//') -%}
    {%- for line in (tool.description or '').split('\\n') %}
{{ marker }} {{ line | trim }}
{% endfor -%}
type {{ tool.name }} = (_: {{ kind(tool.parameters) }}) => any;
{% endmacro -%}
{%- set date = date_string if date_string is defined else strftime_now('%d %b %Y') %}
<|start|>system
Today: {{ date }}

{% if tools is not none and tools | length > 0 -%}
namespace functions {
{% for tool in tools %}{{ describe(tool.function if tool.function is defined else tool) }}{% endfor -%}
}
{%- endif %}
<|end|>
{%- for message in messages if message.role != 'system' %}
    {%- if message.content is not string and message.content is not none %}
        {%- set content = message.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join('') %}
    {%- else %}
        {%- set content = message.content or '' %}
    {%- endif %}
<|start|>{{ message.role }}
{% if message.role == 'assistant' %}{% generation %}{{ content }}{% endgeneration %}{% else %}{{ content }}{% endif %}
<|end|>
{%- endfor %}
{%- if add_generation_prompt %}<|start|>assistant{% endif %}
""",
    "roles": """{%- set ns = namespace(has_system=false, turns=[]) -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}{%- set ns.has_system = true -%}{%- endif -%}
    {%- set ns.turns = ns.turns + [message.role | upper] -%}
{%- endfor -%}
{%- if not ns.has_system -%}<role>SYSTEM</role>{{ default_system | default('thinking off') }}<|role_end|>{%- endif -%}
{%- for message in messages -%}
    {%- if message.role not in ['system', 'user', 'assistant', 'tool'] -%}{%- continue -%}{%- endif -%}
    {%- set names = {'user': 'HUMAN', 'tool': 'OBSERVATION'} -%}
    <role>{{ names.get(message.role, message.role | upper) }}</role>
    {%- if message.content is string -%}{{ message.content }}{%- else -%}{{ message.content | tojson }}{%- endif -%}
    {{- eos_token if message.role == 'assistant' -}}<|role_end|>
{%- endfor -%}
{{- '<role>ASSISTANT</role>' if add_generation_prompt -}}
{{- '|' ~ ns.turns | unique | sort | join(',') -}}
""",
}

CALL = {"id": "c1", "type": "function",
        "function": {"name": "weather", "arguments": {"city": "Köln", "days": 2, "opts": {"u": [None, True, 1.5]}}}}
TOOLS = [
    {"type": "function",
     "function": {"name": "weather", "description": "Tells the \"weather\".\n<b> é",
                  "parameters": {"type": "object", "required": ["city"],
                                 "properties": {"city": {"type": "string", "enum": ["Köln", "Bonn"]},
                                                "days": {"type": ["integer", "null"]},
                                                "opts": {"type": "object", "properties": {
                                                    "u": {"type": "array", "items": {"type": "number"}}}}}}}},
    {"name": "nothing", "parameters": {"type": "object", "properties": {}}},
]
CONVERSATIONS = [
    [{"role": "user", "content": "Hi\n"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " é 日本 "}],
    [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
     {"role": "user", "content": "c"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nwhy\n</think>\n\nb"},
     {"role": "user", "content": "c"}, {"role": "assistant", "content": "<think>\nso\n</think>\n\nd"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "thought": "t\n", "tool_calls": [CALL, CALL["function"]]},
     {"role": "tool", "content": "{\"t\": 5}"}, {"role": "tool", "content": {"t": 6}}, {"role": "assistant", "content": None}],
    [{"role": "user", "content": [{"type": "text", "text": " look "}, {"type": "image"}, {"type": "text", "text": "!"}]}],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "other", "content": "x"}],
    [],
]
EXTRAS = [
    {"tools": None, "add_generation_prompt": True},
    {"tools": TOOLS, "add_generation_prompt": True, "enable_thinking": False, "date_string": "today"},
    {"tools": [], "add_generation_prompt": False, "enable_thinking": True, "default_system": ""},
]


def cases():
    for group, lines in EXPRESSIONS.items():
        joined = lines.strip("\n").replace("\\\n", "\\\0")
        for line in joined.split("\n"):
            yield group, "{{ " + line.replace("\0", "\n") + " }}", VALUES
    for group, templates in TEMPLATES.items():
        for template in templates:
            yield group, template, VALUES
    for name, template in CHATS.items():
        for messages in CONVERSATIONS:
            for extra in EXTRAS:
                yield "chat " + name, template, {"messages": messages, "bos_token": "<s>", "eos_token": "</s>", **extra}


def main():
    os.environ["TZ"] = "UTC"
    time.tzset()
    environment = make_environment()
    # Templates and variables stand once in the file; cases name them by their places.
    templates, variables, golden = [], [], []

    def place(items, item):
        if item not in items:
            items.append(item)
        return items.index(item)

    for group, template, values in cases():
        # As text: the order of keys matters.
        case = {"group": group, "template": place(templates, template),
                "variables": place(variables, json.dumps(values, ensure_ascii=False))}
        try:
            case["output"] = environment.from_string(template).render(**copy.deepcopy(values))
        except Exception as error:  # whatever it is, the template fails
            case["error"] = f"{type(error).__name__}: {error}"
        golden.append(case)
    root = {"jinja2": jinja2.__version__, "now": NOW, "templates": templates, "variables": variables, "cases": golden}
    path = pathlib.Path(__file__).parent.parent / "data" / "chat-templates" / "golden.json"
    path.write_text(json.dumps(root, ensure_ascii=True, indent=1) + "\n")
    print(len(golden), "cases,", sum("error" in case for case in golden), "of them fail")


if __name__ == "__main__":
    main()
