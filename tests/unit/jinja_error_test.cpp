// What is refused, in words that lead to the place; and templates that mean harm.
#include <gtest/gtest.h>

#include <string>

#include "expect_error.h"
#include "jinja_render.h"

namespace diffulex::jinja {
namespace {

using diffulex::testing::detail;
using diffulex::testing::expect_error;

// The template fails in line 2 with a message that has both parts.
void expect_refusal(const std::string& tag, const std::string& part) {
  const Error error =
      expect_error(DIFFULEX_E_UNSUPPORTED, {part, "not covered", "test.jinja", "line 2"},
                   [&] { render("first line\n" + tag, R"({"l": [1], "s": "a", "d": {}})"); });
  EXPECT_EQ(detail(error, "line"), "2");
  EXPECT_EQ(detail(error, "path"), "dir/test.jinja");
}

TEST(JinjaError, UncoveredThingsAreNamed) {
  expect_refusal("{{ s | wordcount }}", "filter 'wordcount'");
  expect_refusal("{{ l | map('pprint') | list }}", "filter 'pprint'");
  expect_refusal("{{ s is upper }}", "test 'upper'");
  expect_refusal("{{ l | select('nosuch') | list }}", "test 'nosuch'");
  expect_refusal("{% block a %}{% endblock %}", "tag 'block'");
  expect_refusal("{% include 'a' %}", "tag 'include'");
  expect_refusal("{% call m() %}{% endcall %}", "tag 'call'");
  expect_refusal("{% nosuch %}", "tag 'nosuch'");
  expect_refusal("{{ s.zfill(3) }}", "method zfill of string");
  expect_refusal("{{ s.format(1) }}", "method format of string");
  expect_refusal("{{ d.setdefault(1) }}", "method setdefault of dict");
  expect_refusal("{{ l.append(1) }}", "method append of list");
  expect_refusal("{{ l.index(1) }}", "method index of list");
  expect_refusal("{{ '%s' % s }}", "formatting with %");
  expect_refusal("{{ cycler(1, 2) }}", "function 'cycler'");
  expect_refusal("{{ range(3) }}", "printing a range");
  expect_refusal("{{ namespace() }}", "type namespace");
  expect_refusal("{{ loop }}{% for i in l %}{{ loop }}{% endfor %}", "type loop");
  expect_refusal("{% for i in l %}{{ loop.changed(i) }}{% endfor %}", "loop.changed");
  expect_refusal("{% for i in l recursive %}{% endfor %}", "recursive");
  expect_refusal("{{ dict(**d) }}", "* or **");
  expect_refusal("{% macro m() %}{{ varargs }}{% endmacro %}", "'varargs'");
  expect_refusal("{{ self.a }}", "'self'");
  expect_refusal("{{ 0x10 }}", "base ten");
  expect_refusal("{{ '\\N{DASH}' }}", "by its name");
  expect_refusal("{{ '\\ud83d' }}", "surrogate");
  expect_refusal("{{ 9223372036854775807 + 1 }}", "64 bits");
  expect_refusal("{{ 99999999999999999999 }}", "64 bits");
  expect_refusal("{{ (-8) ** 0.5 }}", "complex");
  expect_refusal("{{ {(1, 2): 1} }}", "key of type tuple");
  expect_refusal("{{ s is sameas 'a' }}", "sameas");
  expect_refusal("{{ s.startswith('a', 1) }}", "bounds");
  expect_refusal("{{ 'a' | int(base=16) }}", "base");
  expect_refusal("{{ s | safe | upper }}", "markup");
  expect_refusal("{{ (s | safe).upper() }}", "markup");
}

// A branch that does not run may use what it likes, as long as it can be parsed.
TEST(JinjaError, WhatDoesNotRunIsNotRefused) {
  EXPECT_EQ(render("{% if false %}{{ 1 | nosuch }}{{ 'a'.zfill(2) }}{% endif %}ok"), "ok");
}

void expect_failure(const std::string& source, const std::string& part, const std::string& line) {
  const Error error = expect_error(DIFFULEX_E_TOKENIZER, {part}, [&] {
    render(source, R"({"l": [1], "s": "a", "d": {"k": 1}, "n": null})");
  });
  EXPECT_EQ(detail(error, "line"), line) << error.message();
}

TEST(JinjaError, FailuresTellTheLine) {
  expect_failure("a\n\n{{ n.x.y }}", "attribute 'x' of a none", "3");
  expect_failure("a\n{{ nosuch.x }}", "'nosuch' is undefined", "2");
  expect_failure("{{ d.zz + 'a' }}", "attribute 'zz' of a dict", "1");
  expect_failure("{{ l[5].x }}", "element 5 of a list", "1");
  expect_failure("{{ s + 1 }}", "string + int", "1");
  expect_failure("{# a\nb #}\r\n\r{{ s +\n 1 }}", "string + int", "4");
  expect_failure("{{\n'a' if\n n.a.b else\n 1 }}", "is undefined", "3");
  expect_failure("\n{% for a, b in [1] %}{% endfor %}", "cannot be iterated", "2");
  expect_failure("{% macro m(a) %}\n{{ a + 1 }}\n{% endmacro %}\n\n{{ m('x') }}", "string + int",
                 "2");
  expect_failure("{% macro m(a) %}\n{{ a }}\n{% endmacro %}\n\n{{ m('x') + 1 }}", "string + int",
                 "5");
  expect_failure("{% macro m(a) %}{% endmacro %}\n{{ m(b=1) }}", "no argument 'b'", "2");
  expect_failure("\n{{ s | replace('a') }}", "lacks the argument 'new'", "2");
  expect_failure("\n{{ s | trim(1, 2) }}", "at most 1", "2");
  expect_failure("\n{{ s | trim(x=1) }}", "no argument 'x'", "2");
  expect_failure("\n{{ s | trim('a', chars='b') }}", "twice", "2");
  expect_failure("\n{{ s | trim(1) }}", "must be a string, not int", "2");
  expect_failure("{% if s %}\n\n", "'endif'", "2");
  expect_failure("a\n{{ 'b }}\n", "not closed", "2");
  expect_failure("a\n{# b", "not closed", "2");
  expect_failure("{% raw %}\n", "not closed", "1");
  expect_failure("\n{{ ) }}", "closes nothing", "2");
  expect_failure(
      "{% set ns = namespace() %}\n{% for i in l %}{% macro m() %}{% endmacro %}"
      "{% set ns.m = m %}{% endfor %}\n{{ ns.nosuch() }}",
      "attribute 'nosuch' of a namespace", "3");
}

TEST(JinjaError, AMacroIsGoneWithItsBlock) {
  expect_error(DIFFULEX_E_UNSUPPORTED, {"the macro 'm' outside of its block"}, [] {
    render(
        "{% set ns = namespace() %}{% for i in [1] %}{% macro m() %}{{ i }}{% endmacro %}"
        "{% set ns.m = m %}{{ ns.m() }}{% endfor %}{{ ns.m() }}");
  });
}

TEST(JinjaError, WhatTheTemplateRaises) {
  const Error error = expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"roles: system"}, [] {
    render("\n{{ raise_exception('roles: ' ~ role) }}", R"({"role": "system"})");
  });
  EXPECT_EQ(detail(error, "line"), "2");
}

// ---- templates that mean harm

// By less than the usual limits, so that it does not take long.
void expect_stopped(const std::string& source) {
  Limits limits;
  limits.steps = 5'000'000;
  limits.bytes = 1 << 26;
  expect_error(DIFFULEX_E_TOKENIZER, {}, [&] { render(source, "{}", limits); });
}

std::string repeat(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

TEST(JinjaLimits, Time) {
  const std::string nested = "{% for i in range(100000) %}{% for j in range(100000) %}";
  expect_stopped(nested + "{% endfor %}{% endfor %}");
  expect_stopped("{% set l = range(100000)|list %}{% for i in l %}{{ l|sort|length }}{% endfor %}");
  expect_stopped("{% set l = range(100000)|list %}{% for i in l %}{{ -1 in l }}{% endfor %}");
  expect_stopped("{% set l = range(100000)|list %}{% for i in l %}{{ l == l[:] }}{% endfor %}");
  expect_stopped(
      "{% set s = 'a' * 10000000 %}{% for i in range(100000) %}"
      "{% if 'b' in s or s.split('b')|length > 1 %}{% endif %}{% endfor %}");
  expect_stopped("{% set s = 'a' * 10000000 %}{{ s.strip(s) }}");
  expect_stopped(
      "{% set s = 'a' * 1000000 %}{{ (s + 'b').rfind(s + 'c') }}"
      "{{ (s * 9).rfind('b' + s) }}{{ (s * 9).rsplit('b' + s)|length }}");
}

// Each of these takes long once, in few steps.
TEST(JinjaLimits, LongTexts) {
  for (const char* work : {"d[s]",
                           "d.get(s)",
                           "s in d",
                           "{s: 1}",
                           "s == t",
                           "s < t",
                           "s is eq t",
                           "s in t",
                           "s|int",
                           "s|float",
                           "s.startswith((t, t))",
                           "s.upper()",
                           "s|lower",
                           "s.isspace()",
                           "s|length",
                           "s[0]",
                           "s[:1]",
                           "s|trim",
                           "s.find('b')",
                           "ns[s]",
                           "l|map(attribute=s)|list|length",
                           "l|sort(attribute=s)|length",
                           "strftime_now(z)",
                           "s|e",
                           "s|tojson",
                           "s|title",
                           "[s, t]|max",
                           "s.count('b')",
                           "s.splitlines()|length",
                           "s.split()|length",
                           "s.replace('b', '')"}) {
    SCOPED_TRACE(work);
    expect_stopped(std::string("{% set d = {'a': 1} %}{% set l = [d] %}{% set ns = namespace() %}"
                               "{% set s = 'a' * 3000000 %}{% set t = 'a' * 3000000 %}"
                               "{% set z = '%z' * 1000000 %}"
                               "{% for i in range(100000) %}{% if ") +
                   work + " %}{% endif %}{% endfor %}");
  }
}

TEST(JinjaLimits, Memory) {
  const std::string twice = "{% for i in range(99) %}{% set ns.v = ns.v + ns.v %}{% endfor %}";
  expect_stopped("{% set ns = namespace(v='ab') %}" + twice);
  expect_stopped("{% set ns = namespace(v=[1]) %}" + twice);
  expect_stopped("{{ 'a' * 1000000000000 }}");
  expect_stopped("{{ ([0] * 1000000000000)|length }}");
  expect_stopped("{{ 'ab' * 9223372036854775807 }}");
  expect_stopped("{{ range(1000000000) }}");
  expect_stopped("{{ range(-9223372036854775807, 9223372036854775807) }}");
  expect_stopped("{{ 'a'|indent(1000000000000, true) }}");
  expect_stopped("{{ [1]|tojson(indent=1000000000000) }}");
  expect_stopped("{% set s = 'a' * 1000000 %}{{ s.replace('', s) }}");
  expect_stopped("{% set s = 'a' * 1000000 %}{{ s.replace('a', s) }}");
  expect_stopped("{% set s = 'a' * 1000000 %}{{ s|join(s) }}");
  expect_stopped("{% set s = 'a' * 1000000 %}{{ s.join(s) }}");
  expect_stopped("{% for i in range(100000) %}{{ 'a' * 10000 }}{% endfor %}");
  expect_stopped("{% set s = '\\n' * 1000000 %}{{ s|indent('a' * 1000, blank=true) }}");
}

// Each level holds the one below twice: small to make, long to walk.
TEST(JinjaLimits, SharedValues) {
  const std::string make =
      "{% set ns = namespace(v=[1]) %}{% for i in range(60) %}{% set ns.v = [ns.v, ns.v] %}"
      "{% endfor %}";
  EXPECT_EQ(render(make + "{{ ns.v|length }}"), "2");
  expect_stopped(make + "{{ ns.v }}");
  expect_stopped(make + "{{ ns.v|tojson }}");
  expect_stopped(make + "{% set a = ns.v %}" + make + "{{ ns.v == a }}");
  expect_stopped(make + "{% set a = ns.v %}" + make + "{{ ns.v < a }}");
}

TEST(JinjaLimits, Depth) {
  const std::string wrap = "{% set ns = namespace(v=[]) %}{% for i in range(90000) %}";
  expect_stopped(wrap + "{% set ns.v = [ns.v] %}{% endfor %}");
  expect_stopped(wrap + "{% set ns.v = {'a': ns.v} %}{% endfor %}");
  expect_stopped(wrap + "{% set ns.v = [ns.v]|select %}{% endfor %}");
  expect_stopped(wrap + "{% set ns.v = [{'a': ns.v}.items] %}{% endfor %}");
  EXPECT_EQ(render(wrap + "{% set ns.v = namespace(v=ns.v) %}{% endfor %}ok"), "ok");
  expect_stopped("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  expect_stopped("{% macro m(f) %}{{ f(f) }}{% endmacro %}{{ m(m) }}");
  expect_stopped("{{ " + repeat("(", 100000) + "1" + repeat(")", 100000) + " }}");
  expect_stopped("{{ " + repeat("[", 100000) + repeat("]", 100000) + " }}");
  expect_stopped("{{ " + repeat("-", 100000) + "1 }}");
  expect_stopped("{{ " + repeat("not ", 100000) + "1 }}");
  expect_stopped("{{ 1" + repeat(" + 1", 100000) + " }}");
  expect_stopped("{{ 1" + repeat(" or 1", 100000) + " }}");
  expect_stopped("{{ a" + repeat(".a", 100000) + " }}");
  expect_stopped("{{ a" + repeat("|list", 100000) + " }}");
  expect_stopped("{{ 1" + repeat(" if 1 else 1", 100000) + " }}");
  expect_stopped(repeat("{% if 1 %}", 100000) + repeat("{% endif %}", 100000));
  expect_stopped("{% for " + repeat("(", 100000) + "a" + repeat(")", 100000) + " in b %}");
  EXPECT_EQ(render("{{ 'a'" + repeat(" ~ 'a'", 10000) + " }}"), repeat("a", 10001));
  EXPECT_EQ(render("{% if 0 %}" + repeat("{% elif 0 %}", 10000) + "{% else %}a{% endif %}"), "a");
}

// Namespaces that hold each other, or a macro that holds one, are no leak.
TEST(JinjaLimits, Circles) {
  EXPECT_EQ(render("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}"
                   "{% set a.l = [a, b] %}{{ a.b.a.l|length }}{{ a == b }}{{ a == a.b.a }}"),
            "2FalseTrue");
  EXPECT_EQ(render("{% set a = namespace() %}{% macro m() %}{{ a.x }}{% endmacro %}"
                   "{% set a.m = m %}{% set a.x = 7 %}{{ a.m() }}"),
            "7");
}

TEST(JinjaLimits, AreTheCallersToSet) {
  Limits limits;
  limits.output = 3;
  EXPECT_EQ(render("abc", "{}", limits), "abc");
  expect_error(DIFFULEX_E_TOKENIZER, {"too long a prompt"}, [&] { render("abcd", "{}", limits); });
  limits = {};
  limits.steps = 100;
  expect_error(DIFFULEX_E_TOKENIZER, {"too many steps"},
               [&] { render("{% for i in range(99) %}{% endfor %}", "{}", limits); });
}

}  // namespace
}  // namespace diffulex::jinja
