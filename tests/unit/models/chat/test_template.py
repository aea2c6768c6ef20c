from __future__ import annotations

import json
from datetime import datetime

import pytest

from openhearth.errors import MalformedFileError
from openhearth.models.chat.template import ChatTemplate, TemplateRefusal

USER = [{"role": "user", "content": "Hi <b>"}]
DOUBLING = (
    "{% set ns = namespace(x='aaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = OP %}{% endfor %}{{ ns.x|length }}"
)
LAUGHS = "{% set a = ['xxxxxxxxxx'] %}" + "{% set a = [a, a, a, a, a, a, a, a, a, a] %}" * 9


def render(source: str, **variables: object) -> str:
    return ChatTemplate(source).render(USER, **variables)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages %}\n  {% if m.role %}\n{{ m.content }}\n{% endif %}\n{% endfor %}", "Hi <b>\n"),
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}{{ {'b': 1, 'a': [2]} | tojson(indent=1, sort_keys=true) }}",
         '[1,2]{\n "a": [\n  2\n ],\n "b": 1\n}'),
        ("{{ strftime_now('%Y') }}", str(datetime.now().year)),
        ("{% for m in messages %}{% break %}{{ m }}{% endfor %}.", "."),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "Hi <b>"),
        ("{% if add_generation_prompt %}go{% endif %}", "go"),
        ("{% if tools is none %}none{% endif %}", "none"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ messages[0]['content'].split('<')[0] | trim }}{{ messages[0].content.startswith('Hi') }}", "HiTrue"),
        ("{% set ns = namespace(n=0) %}{% for c in 'abc' %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "3"),
        ("{% for m in messages %}{{ loop.last }}{{ loop.length }}{% endfor %}", "True1"),
        ("{{ 'a' ~ 1 ~ messages[0].role }}{{ 2 * 3 }}{{ 'ab' * 2 }}{{ 2 ** 3 }}{{ 7 % 4 }}", "a1user6abab83"),
        ("{% for k, v in {'a': 1} | items %}{{ k }}{{ v }}{% endfor %}{{ ['a', 'b'] | join(', ') }}", "a1a, b"),
        ("{{ 'x\ny' | indent(2) }}{{ 'xyx' | replace('x', 'z') }}{{ 'abc'.replace('b', 'd') }}", "x\n  yzyzadc"),
    ],
)  # fmt: skip
def test_templates_have_what_transformers_gives_them(source: str, text: str) -> None:
    assert render(source) == text


def test_variables_and_tools_arrive() -> None:
    source = "{% if enable_thinking %}{{ tools | tojson }}{% endif %}"
    assert json.loads(ChatTemplate(source).render(USER, tools=[{"name": "x"}], enable_thinking=True)) == [{"name": "x"}]


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ raise_exception.__globals__['os'] }}",
        "{{ messages|map(attribute='__class__')|list|first }}{{ namespace.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{% set _ = messages[0].pop('role') %}",
        "{{ '{0.__class__}'.format('x') }}",
        "{{ '%s' % 'x' }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.listdir('/') }}",
        "{{ self.__init__.__globals__ }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(999999999) %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ 10 ** 9 * 'a' }}",
        "{{ [0] * 10 ** 9 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ (2 ** 63) ** 60 ** 60 }}",
        "{{ 'a'.ljust(10 ** 9) }}",
        "{{ 'a'.center(10 ** 9) }}",
        "{{ 'a\nb' | indent(10 ** 9) }}",
        "{{ ('a' * 1000) | replace('a', 'b' * 10000) }}",
        "{{ ('a' * 1000).replace('a', 'b' * 10000) }}",
        "{{ (['a' * 1000] * 1000) | join('b' * 1000) }}",
        "{{ ('b' * 100000).join(['a'] * 1000) }}",
        DOUBLING.replace("OP", "ns.x ~ ns.x"),
        DOUBLING.replace("OP", "ns.x + ns.x"),
        LAUGHS + "{{ a }}",
        LAUGHS + "{{ a | tojson }}",
        LAUGHS + "{{ a | upper }}",
        LAUGHS + "{{ a ~ 'x' }}",
        "{% for i in range(60000) %}{{ 'a' * 100 }}{% endfor %}",
        "{{ lipsum() }}",
        "{{ messages | pprint }}",
        "{{ 1 / 0 }}",
        "{{ nothing.at.all }}",
        "{% for x in 1 %}{% endfor %}",
        "{% for %}",
        "{{ 'a'.encode('x') }}",
    ],
)
def test_a_hostile_or_broken_template_is_an_error(source: str) -> None:
    with pytest.raises(MalformedFileError, match="chat template"):
        render(source)
    assert USER == [{"role": "user", "content": "Hi <b>"}]


def test_a_template_may_refuse() -> None:
    with pytest.raises(TemplateRefusal, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


def test_what_a_template_can_do_is_found_out() -> None:
    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert ChatTemplate(plain).takes_system
    assert not ChatTemplate(plain).takes_tools
    assert ChatTemplate("{% for t in tools %}{{ t | tojson }}{% endfor %}").takes_tools
    dropping = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    assert not ChatTemplate(dropping).takes_system
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + plain
    assert not ChatTemplate(refusing).takes_system


def test_long_conversations_are_not_mistaken_for_bombs() -> None:
    messages = [{"role": "user", "content": "word " * 100_000} for _ in range(20)]
    text = ChatTemplate("{% for m in messages %}{{ m.content ~ '\n' }}{% endfor %}").render(messages)
    assert len(text) == 20 * 500_001
