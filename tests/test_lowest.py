"""Every package has an oldest version, and the pinned ones lie in their ranges."""

import subprocess
import sys

from packaging.specifiers import SpecifierSet

from minitransformer.course import doctor
from tests import lowest

UNBOUND = {"setuptools"}  # the book needs it to be there, in whatever version


def test_every_package_has_an_oldest_version():
    assert set(lowest.requirements()) - set(lowest.lowest()) == UNBOUND


def test_the_pinned_versions_are_admitted():
    pins = doctor.pins()
    for name, admitted in lowest.requirements().items():
        if name not in UNBOUND:
            assert SpecifierSet(admitted).contains(pins[name]), name


def test_the_oldest_versions_are_admitted_and_printed_as_constraints():
    program = [sys.executable, lowest.__file__]
    printed = subprocess.run(program, capture_output=True, text=True).stdout
    lines = dict(line.split("==") for line in printed.splitlines())
    assert lines.keys() >= {"numpy", "torch", "pytest", "matplotlib"}
    for name, version in lines.items():
        assert SpecifierSet(lowest.requirements()[name]).contains(version), name
