"""Every input that the fuzzer of `bench/fuzz.py` found of interest, through the parser that it was grown for."""

import pytest

from bench.corpus import CORPUS, read
from bench.parsers import PARSERS


def test_every_parser_has_a_corpus_and_every_corpus_a_parser() -> None:
    assert {file.stem for file in CORPUS.iterdir()} == set(PARSERS)
    assert all(read(name) for name in PARSERS)


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_takes_its_corpus_or_refuses_it_as_documented(name: str) -> None:
    for held in read(name):
        PARSERS[name](held)
