"""Hashes that can be put down and taken up again (promise 5; design section 5, Resume)."""

from __future__ import annotations

import _hashlib
import ctypes
import hashlib
import random
import subprocess
import sys
from ctypes.util import find_library
from types import SimpleNamespace

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobd.digest import SUPPORTED_ALGORITHMS
from blobd.errors import DigestUnsupported
from blobd.hashing import Hasher, Hashing

RESUMABLE = ("sha256", "sha512")
DATA = random.Random(11).randbytes(1000)
BOTH = pytest.mark.parametrize("saved_states", [True, False], ids=["states", "plain"])


def expected(algorithm: str, data: bytes) -> str:
    if algorithm == "blake3":
        return blake3.blake3(data).hexdigest()
    return hashlib.new(algorithm, data).hexdigest()


def fed(hasher: Hasher, data: bytes) -> Hasher:
    hasher.update(data)
    return hasher


@BOTH
@pytest.mark.parametrize("algorithm", SUPPORTED_ALGORITHMS)
class TestEveryHasher:
    def test_it_agrees_with_the_library_at_every_length(
        self, algorithm: str, saved_states: bool
    ) -> None:
        """Promise 1: the digest of the bytes, across all block boundaries."""
        for size_bytes in range(300):
            hasher = fed(Hashing(saved_states=saved_states).new(algorithm), DATA[:size_bytes])
            digest = hasher.digest()
            assert digest.algorithm == algorithm
            assert digest.encoded == expected(algorithm, DATA[:size_bytes])

    def test_asking_for_the_digest_disturbs_nothing(
        self, algorithm: str, saved_states: bool
    ) -> None:
        """Hasher.digest: of all bytes so far; more may follow."""
        hasher = Hashing(saved_states=saved_states).new(algorithm)
        for end in range(0, 1000, 37):
            assert hasher.digest().encoded == expected(algorithm, DATA[: end - 37 if end else 0])
            hasher.update(DATA[max(0, end - 37) : end])
            assert hasher.digest() == hasher.digest()

    def test_it_takes_every_kind_of_buffer(self, algorithm: str, saved_states: bool) -> None:
        """Hasher.update: the next bytes, whose buffer may be reused afterwards."""
        hasher = Hashing(saved_states=saved_states).new(algorithm)
        buffer = bytearray(b"--writable--")
        hasher.update(memoryview(buffer)[2:-2])
        buffer[:] = b"............"
        hasher.update(memoryview(b"read-only"))
        hasher.update(b"bytes")
        hasher.update(b"")
        hasher.update(memoryview(bytearray()))
        hasher.update(memoryview(buffer)[3:3])
        assert hasher.digest().encoded == expected(algorithm, b"writableread-onlybytes")

    def test_two_hashers_keep_apart(self, algorithm: str, saved_states: bool) -> None:
        """Hashing.new: a fresh hasher each time."""
        made = Hashing(saved_states=saved_states)
        one, other = made.new(algorithm), made.new(algorithm)
        one.update(b"one")
        other.update(b"other")
        assert one.digest().encoded == expected(algorithm, b"one")
        assert other.digest().encoded == expected(algorithm, b"other")


class TestSavedStates:
    def test_this_machine_can_save_sha2(self) -> None:
        """Promise 5: continuing costs no re-read. Fails where the OpenSSL is an odd one."""
        assert Hashing().resumable == set(RESUMABLE)
        assert Hashing(saved_states=False).resumable == frozenset()

    @pytest.mark.parametrize("algorithm", RESUMABLE)
    def test_a_state_saved_at_any_byte_goes_on_from_there(self, algorithm: str) -> None:
        """Promise 5: mid-block, at and around every boundary."""
        whole = expected(algorithm, DATA[:300])
        for cut in range(301):
            state = fed(Hashing().new(algorithm), DATA[:cut]).save()
            later = Hashing().restore(algorithm, state)
            assert later is not None
            assert later.digest().encoded == expected(algorithm, DATA[:cut])
            assert fed(later, DATA[cut:300]).digest().encoded == whole

    @settings(deadline=None)
    @given(st.sampled_from(RESUMABLE), st.lists(st.binary(max_size=400), max_size=12))
    def test_a_state_survives_any_number_of_hands(
        self, algorithm: str, pieces: list[bytes]
    ) -> None:
        """Promise 5: saved and restored after every piece."""
        made = Hashing()
        state = made.new(algorithm).save()
        for piece in pieces:
            hasher = made.restore(algorithm, state)
            assert hasher is not None
            state = fed(hasher, piece).save()
        last = made.restore(algorithm, state)
        assert last is not None
        assert last.digest().encoded == expected(algorithm, b"".join(pieces))

    @pytest.mark.parametrize("algorithm", RESUMABLE)
    def test_a_state_is_a_copy(self, algorithm: str) -> None:
        """Hasher.save: what follows does not change it; one state serves many."""
        first = fed(Hashing().new(algorithm), b"same start, ")
        state = first.save()
        first.update(b"gone on")
        for end in (b"one", b"other"):
            later = Hashing().restore(algorithm, state)
            assert later is not None
            assert fed(later, end).digest().encoded == expected(algorithm, b"same start, " + end)

    @pytest.mark.parametrize("algorithm", RESUMABLE)
    def test_a_state_counts_beyond_four_gibibytes(self, algorithm: str) -> None:
        """Promise 5: the length in bits takes more than one word of the struct."""
        hasher = Hashing().new(algorithm)
        reference = hashlib.new(algorithm)
        block = bytes(64 * 1024 * 1024)
        for _ in range(9):  # 576 MiB are more than 2**32 bits
            hasher.update(block)
            reference.update(block)
        later = Hashing().restore(algorithm, hasher.save())
        assert later is not None
        reference.update(b"end")
        assert fed(later, b"end").digest().encoded == reference.hexdigest()

    @pytest.mark.parametrize("algorithm", RESUMABLE)
    def test_a_state_goes_on_in_another_process(self, algorithm: str) -> None:
        """Promise 5: a restart, or a switch to another worker."""
        state = fed(Hashing().new(algorithm), b"here, ").save()
        assert state is not None
        script = (
            "import sys; from blobd.hashing import Hashing\n"
            f"hasher = Hashing().restore({algorithm!r}, bytes.fromhex({state.hex()!r}))\n"
            "hasher.update(b'there'); print(hasher.digest().encoded)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.stdout.strip() == expected(algorithm, b"here, there"), done.stderr

    @pytest.mark.parametrize("state", [None, b"", b"short", bytes(111), bytes(113), bytes(217)])
    def test_what_is_no_state_is_not_taken_up(self, state: bytes | None) -> None:
        """Hashing.restore: None where it cannot."""
        assert Hashing().restore("sha256", state) is None
        assert Hashing().restore("sha512", state) is None

    def test_states_of_other_algorithms_are_not_taken_up(self) -> None:
        """Hashing.restore: None where it cannot."""
        assert Hashing().restore("blake3", bytes(112)) is None
        assert Hashing().restore("md5", bytes(112)) is None
        assert Hashing().restore("sha512", Hashing().new("sha256").save()) is None


class TestWithoutStates:
    @pytest.mark.parametrize("algorithm", SUPPORTED_ALGORITHMS)
    def test_nothing_is_saved_or_restored(self, algorithm: str) -> None:
        """Hasher.save: None where there is no state; uploads read again."""
        state = Hashing().new(algorithm).save()
        plain = Hashing(saved_states=False)
        assert plain.new(algorithm).save() is None
        assert plain.restore(algorithm, state) is None

    def test_blake3_never_has_a_state(self) -> None:
        """hashing.py: for blake3, a hasher has no state."""
        assert Hashing().new("blake3").save() is None

    def test_a_library_without_the_functions_is_done_without(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Self-test at start: an OpenSSL built without the old API."""
        monkeypatch.setattr(_hashlib, "__file__", find_library("c"))
        self.assert_plain()

    def test_a_library_that_cannot_be_loaded_is_done_without(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Self-test at start: a Python that has OpenSSL linked in, or none."""
        monkeypatch.setattr(_hashlib, "__file__", "/nowhere/_hashlib.so")
        self.assert_plain()
        monkeypatch.setitem(sys.modules, "_hashlib", None)
        self.assert_plain()

    @pytest.mark.parametrize("wrong", ["Update", "Init", "Final"])
    def test_a_library_that_computes_something_else_is_done_without(
        self, monkeypatch: pytest.MonkeyPatch, wrong: str
    ) -> None:
        """Self-test at start: hash, save mid-block, restore, go on."""
        library = ctypes.CDLL(_hashlib.__file__)
        functions = {
            f"{family}_{name}": getattr(library, f"{family}_{name}")
            for family in ("SHA256", "SHA512")
            for name in ("Init", "Update", "Final")
        }
        functions[f"SHA256_{wrong}"] = _Idle()
        monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(**functions))
        assert Hashing().resumable == {"sha512"}
        assert Hashing().new("sha256").save() is None

    def assert_plain(self) -> None:
        made = Hashing()
        assert made.resumable == frozenset()
        for algorithm in SUPPORTED_ALGORITHMS:
            hasher = fed(made.new(algorithm), DATA)
            assert hasher.digest().encoded == expected(algorithm, DATA)
            assert hasher.save() is None


class _Idle:
    """A foreign function that is there and does nothing."""

    argtypes: object = None
    restype: object = None

    def __call__(self, *arguments: object) -> int:
        return 1


@BOTH
@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "", "shake_128", "blake2b"])
def test_other_algorithms_are_refused_by_name(algorithm: str, saved_states: bool) -> None:
    """Section 7: unsupported algorithm; also those that hashlib would have."""
    with pytest.raises(DigestUnsupported) as raised:
        Hashing(saved_states=saved_states).new(algorithm)
    assert raised.value.algorithm == algorithm
