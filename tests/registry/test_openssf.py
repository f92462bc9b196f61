import json
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as to
from cryptography.hazmat.primitives.asymmetric import ec

from registries import HOUR, NOON, RECORD, make_artifact, signed_folder, trusting
from stairways.cli.main import run
from stairways.errors import ArtifactError, ConfigError, SignatureError, SigningKeyError, StorageError
from stairways.registry.artifact import read_artifact, write_artifact
from stairways.registry.keys import SigningKey
from stairways.registry.manifest import ALL_FILES, SIGNATURE_FILE
from stairways.registry.openssf import bundle_beside, new_openssf_key, sign_openssf, verify_openssf
from stairways.registry.signatures import read_trusted, sign_artifact

POSITIONS = 200


@pytest.fixture
def library():
    return pytest.importorskip("model_signing", reason="the extra openssf is not installed")


@pytest.fixture
def key(tmp_path) -> Path:
    new_openssf_key(tmp_path / "ec.pem")
    return tmp_path / "ec.pem"


@pytest.fixture
def public(key) -> Path:
    return key.with_name("ec.pem.pub")


@pytest.fixture
def own() -> SigningKey:
    return SigningKey.new()


@pytest.fixture
def folder(tmp_path, own) -> Path:
    return signed_folder(tmp_path / "artifact", own)


@pytest.fixture
def bundle(library, folder, key) -> Path:
    sign_openssf(folder, key, bundle_beside(folder))
    return bundle_beside(folder)


def theirs(library, folder, public, bundle):
    """Verify by the library itself."""
    library.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, bundle)


def signed_by_theirs(library, folder, key, bundle, *, ignored=()):
    """Sign by the library itself."""
    hashing = library.hashing.Config().set_ignored_paths(paths=ignored)
    signing = library.signing.Config().set_hashing_config(hashing)
    signing.use_elliptic_key_signer(private_key=key).sign(folder, bundle)


def command(*words):
    """Run the library's own command line."""
    called = [sys.executable, "-m", "model_signing", *map(str, words)]
    return subprocess.run(called, capture_output=True, text=True, check=False)


def flipped(path, bit):
    """Flip one bit of a file, and return what it held."""
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    return whole


class TestKeys:
    def test_a_new_key_is_of_p256_and_its_owners_alone(self, key, public):
        private = to.load_pem_private_key(key.read_bytes(), None)
        assert private.curve.name == "secp256r1"
        assert to.load_pem_public_key(public.read_bytes()) == private.public_key()
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        with pytest.raises(StorageError, match="stands there already"):
            new_openssf_key(key)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o602])
    def test_a_key_that_others_may_read_signs_nothing(self, library, folder, key, mode):
        key.chmod(mode)
        with pytest.raises(SigningKeyError, match=rf"rights {mode:o},.*chmod 600"):
            sign_openssf(folder, key, bundle_beside(folder))
        assert not bundle_beside(folder).exists()

    def test_a_key_of_another_kind_is_refused(self, library, folder, bundle, tmp_path, own):
        beside = own.write(tmp_path / "ed.pem")
        with pytest.raises(SigningKeyError, match=r"private key is not of the curves P-256.*keys new"):
            sign_openssf(folder, tmp_path / "ed.pem", bundle)
        with pytest.raises(SigningKeyError, match="public key is not of the curves P-256"):
            verify_openssf(folder, beside, bundle)
        # and why: the library takes it neither
        with pytest.raises(AttributeError, match="curve"):
            signed_by_theirs(library, folder, tmp_path / "ed.pem", tmp_path / "none")

    def test_what_is_no_key_is_refused_and_not_repeated(self, library, folder, bundle, key, public):
        secret = key.read_text().splitlines()[1]
        for path in (key, public):
            path.write_text(path.read_text().replace(secret, secret[:-5]).replace("MFkw", ""))
        with pytest.raises(SigningKeyError, match="holds no private key") as raised:
            sign_openssf(folder, key, bundle)
        assert secret[:10] not in raised.value.line()
        with pytest.raises(SigningKeyError, match="holds no public key"):
            verify_openssf(folder, public, bundle)
        with pytest.raises(StorageError, match="check the path"):
            verify_openssf(folder, key.with_name("none"), bundle)


class TestOneBundle:
    def test_what_was_signed_is_believed(self, folder, public, bundle):
        found = verify_openssf(folder, public, bundle)
        assert found.digest == make_artifact().digest
        assert found.record == RECORD

    def test_it_stands_beside_the_artifact_and_changes_nothing_in_it(self, folder, bundle, own, monkeypatch):
        assert bundle == folder.with_name("artifact.sig")
        assert sorted(entry.name for entry in folder.iterdir()) == sorted((*ALL_FILES, SIGNATURE_FILE))
        read_trusted(folder, trusting(own), NOON)
        monkeypatch.chdir(folder)
        assert bundle_beside(Path()) == bundle

    def test_signing_with_an_own_key_after_it_does_not_break_it(self, library, folder, public, bundle):
        sign_artifact(folder, SigningKey.new(), NOON + HOUR)
        verify_openssf(folder, public, bundle)
        theirs(library, folder, public, bundle)
        (folder / SIGNATURE_FILE).unlink()
        verify_openssf(folder, public, bundle)
        theirs(library, folder, public, bundle)

    @pytest.mark.parametrize("name", ["elsewhere", "bundle", "public", "artifact two"])
    def test_it_holds_for_a_copy_under_another_name(self, library, folder, public, bundle, tmp_path, name):
        other = shutil.copytree(folder, tmp_path / "copies" / name)
        sign_openssf(other, public.with_suffix(""), bundle)
        verify_openssf(other, public, bundle)
        theirs(library, other, public, bundle)

    def test_two_people_sign_one_artifact(self, folder, public, bundle, tmp_path):
        new_openssf_key(tmp_path / "second.pem")
        sign_openssf(folder, tmp_path / "second.pem", tmp_path / "second.sig")
        second = verify_openssf(folder, tmp_path / "second.pem.pub", tmp_path / "second.sig")
        assert second.digest == verify_openssf(folder, public, bundle).digest

    def test_another_key_is_refused(self, folder, bundle, tmp_path):
        new_openssf_key(tmp_path / "other.pem")
        with pytest.raises(SignatureError, match=r"signed by key [0-9a-f]{16}, and .* holds"):
            verify_openssf(folder, tmp_path / "other.pem.pub", bundle)

    def test_a_key_that_only_claims_to_be_the_signers_is_refused(self, folder, bundle, tmp_path):
        name, beside = new_openssf_key(tmp_path / "other.pem")
        sign_openssf(folder, tmp_path / "other.pem", tmp_path / "other.sig")
        forged = json.loads(bundle.read_bytes())
        forged["verificationMaterial"] = json.loads((tmp_path / "other.sig").read_bytes())[
            "verificationMaterial"
        ]
        assert forged["verificationMaterial"]["publicKey"]["hint"].startswith(name)
        bundle.write_text(json.dumps(forged))
        with pytest.raises(SignatureError, match="does not fit the statement"):
            verify_openssf(folder, beside, bundle)


class TestEveryBit:
    def test_a_flip_in_any_file_is_refused(self, library, folder, public, bundle):
        draw = random.Random(7)
        for number in range(POSITIONS):
            path = folder / ALL_FILES[number % len(ALL_FILES)]
            whole = flipped(path, draw.randrange(8 * path.stat().st_size))
            with pytest.raises(ArtifactError):
                verify_openssf(folder, public, bundle)
            # our own manifest would find it too: the bundle finds it alone
            with pytest.raises(ValueError, match="Hash mismatch"):
                theirs(library, folder, public, bundle)
            path.write_bytes(whole)
        verify_openssf(folder, public, bundle)

    def test_a_flip_in_the_bundle_is_refused(self, folder, public, bundle):
        draw = random.Random(8)
        for _ in range(POSITIONS):
            whole = flipped(bundle, draw.randrange(8 * bundle.stat().st_size))
            with pytest.raises(SignatureError):
                verify_openssf(folder, public, bundle)
            bundle.write_bytes(whole)
        verify_openssf(folder, public, bundle)

    def test_base64_has_one_form(self, library, folder, public, bundle):
        """The library overlooks the unused bits of the last letter, and letters that are none."""
        whole = json.loads(bundle.read_bytes())
        payload = whole["dsseEnvelope"]["payload"]
        for changed in (f"{payload[:4]}\n{payload[4:]}", f"{payload[:4]}*{payload[4:]}"):
            whole["dsseEnvelope"]["payload"] = changed
            bundle.write_text(json.dumps(whole))
            theirs(library, folder, public, bundle)
            with pytest.raises(SignatureError, match="no OpenSSF bundle"):
                verify_openssf(folder, public, bundle)


class TestContent:
    @pytest.mark.parametrize("name", ALL_FILES)
    def test_a_missing_file_is_refused(self, library, folder, public, bundle, name):
        (folder / name).unlink()
        with pytest.raises(ArtifactError, match=f"missing: {name}"):
            verify_openssf(folder, public, bundle)
        with pytest.raises(ValueError, match="Missing files"):
            theirs(library, folder, public, bundle)

    @pytest.mark.parametrize("name", ["notes.txt", ".gitignore"])
    def test_one_more_file_is_refused(self, library, folder, public, bundle, name):
        (folder / name).write_text("x")
        if name == ".gitignore":
            # the library leaves the files of git out
            theirs(library, folder, public, bundle)
        with pytest.raises(ArtifactError, match=f"found also: {name}"):
            verify_openssf(folder, public, bundle)

    def test_a_link_is_refused(self, folder, public, bundle, tmp_path):
        (folder / "weights.safetensors").rename(tmp_path / "weights")
        (folder / "weights.safetensors").symlink_to(tmp_path / "weights")
        with pytest.raises(StorageError, match="is a link"):
            verify_openssf(folder, public, bundle)

    def test_another_artifact_is_refused(self, folder, public, bundle):
        write_artifact(folder, make_artifact(1), RECORD, replace=True)
        with pytest.raises(SignatureError, match="does not fit the artifact: Signature mismatch"):
            verify_openssf(folder, public, bundle)

    def test_another_record_of_the_same_artifact_is_refused(self, folder, public, bundle):
        write_artifact(folder, make_artifact(), RECORD | {"steps": 1}, replace=True)
        with pytest.raises(SignatureError, match=r"record\.json"):
            verify_openssf(folder, public, bundle)

    def test_what_is_damaged_is_not_signed(self, library, folder, key):
        flipped(folder / "weights.safetensors", 0)
        with pytest.raises(ArtifactError, match="SHA-256"):
            sign_openssf(folder, key, bundle_beside(folder))
        assert not bundle_beside(folder).exists()


class TestPlaceOfTheBundle:
    def test_signing_again_takes_the_place_of_a_bundle(self, folder, key, public, bundle):
        before = bundle.read_bytes()
        sign_openssf(folder, key, bundle)
        assert bundle.read_bytes() != before
        verify_openssf(folder, public, bundle)

    def test_nothing_else_is_written_over(self, library, folder, key, tmp_path):
        before = key.read_bytes()
        with pytest.raises(StorageError, match="no bundle stands there"):
            sign_openssf(folder, key, key)
        assert key.read_bytes() == before
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        for place in (tmp_path, tmp_path / "link", tmp_path / "none" / "bundle"):
            with pytest.raises(StorageError):
                sign_openssf(folder, key, place)

    def test_it_never_stands_in_the_folder(self, library, folder, key, tmp_path):
        (tmp_path / "link").symlink_to(folder)
        for place in (folder / "artifact.sig", tmp_path / "link" / "a.sig", folder / "weights.safetensors"):
            with pytest.raises(StorageError, match=r"takes no more files.*put it beside"):
                sign_openssf(folder, key, place)
        read_artifact(folder)

    def test_what_can_not_be_written_leaves_the_old_one(self, library, public_folder, key, without_rights):
        folder = signed_folder(public_folder / "artifact", SigningKey.new())
        key = Path(shutil.copy(key, public_folder / "ec.pem"))
        bundle = public_folder / "inner" / "artifact.sig"
        bundle.parent.mkdir()
        sign_openssf(folder, key, bundle)
        before = bundle.read_bytes()
        if os.geteuid() == 0:
            os.chown(key, 65534, -1)
        with without_rights(bundle.parent), pytest.raises(StorageError, match="may write"):
            sign_openssf(folder, key, bundle)
        assert bundle.read_bytes() == before

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"verificationMaterial": {"publicKey": 1}}']
    )
    def test_what_is_no_bundle_is_refused(self, folder, public, bundle, content):
        bundle.write_bytes(content)
        with pytest.raises(SignatureError, match="no OpenSSF bundle"):
            verify_openssf(folder, public, bundle)

    def test_a_second_signature_is_refused(self, library, folder, public, bundle):
        """The library looks at the first alone."""
        parsed = json.loads(bundle.read_bytes())
        parsed["dsseEnvelope"]["signatures"] *= 2
        bundle.write_text(json.dumps(parsed))
        theirs(library, folder, public, bundle)
        with pytest.raises(SignatureError, match="no OpenSSF bundle"):
            verify_openssf(folder, public, bundle)

    def test_a_bundle_that_names_no_key_is_refused(self, library, folder, public, bundle, capsys):
        """The library would write a warning where the answer of a command stands."""
        parsed = json.loads(bundle.read_bytes())
        del parsed["verificationMaterial"]["publicKey"]["hint"]
        bundle.write_text(json.dumps(parsed))
        with pytest.raises(SignatureError, match="one plain key that it names"):
            verify_openssf(folder, public, bundle)
        assert not capsys.readouterr().out


class TestInterchange:
    @pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
    @pytest.mark.parametrize("ignored", [(), (SIGNATURE_FILE,)])
    def test_what_the_library_signs_is_believed(self, library, folder, tmp_path, curve, ignored):
        private = ec.generate_private_key(curve)
        (tmp_path / "k").write_bytes(
            private.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption())
        )
        (tmp_path / "k.pub").write_bytes(
            private.public_key().public_bytes(to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo)
        )
        signed_by_theirs(library, folder, tmp_path / "k", tmp_path / "b", ignored=ignored)
        assert verify_openssf(folder, tmp_path / "k.pub", tmp_path / "b").digest == make_artifact().digest
        sign_artifact(folder, SigningKey.new(), NOON + HOUR)
        if ignored:
            verify_openssf(folder, tmp_path / "k.pub", tmp_path / "b")
        else:
            with pytest.raises(SignatureError, match=r"signature\.json"):
                verify_openssf(folder, tmp_path / "k.pub", tmp_path / "b")

    def test_a_bundle_that_leaves_a_file_out_is_refused(self, library, folder, key, public, tmp_path):
        """The library believes it: what is left out may then hold anything."""
        signed_by_theirs(library, folder, key, tmp_path / "b", ignored=["weights.safetensors"])
        theirs(library, folder, public, tmp_path / "b")
        with pytest.raises(SignatureError, match=r"leaves out weights\.safetensors"):
            verify_openssf(folder, public, tmp_path / "b")

    def test_a_bundle_of_parts_of_files_is_refused(self, library, folder, key, public, tmp_path):
        hashing = library.hashing.Config().use_shard_serialization(shard_size=64)
        signing = library.signing.Config().set_hashing_config(hashing)
        signing.use_elliptic_key_signer(private_key=key).sign(folder, tmp_path / "b")
        with pytest.raises(SignatureError, match="list whole files"):
            verify_openssf(folder, public, tmp_path / "b")

    def test_both_command_lines_agree(self, library, folder, key, public, bundle, tmp_path):
        named = ("--public_key", public, "--signature")
        ended = command("verify", "key", folder, *named, bundle)
        assert ended.returncode == 0, ended.stderr
        made = command("sign", "key", folder, "--private_key", key, "--signature", tmp_path / "b")
        assert made.returncode == 0, made.stderr
        verify_openssf(folder, public, tmp_path / "b")
        flipped(folder / "weights.safetensors", 0)
        assert command("verify", "key", folder, *named, bundle).returncode != 0


class TestCommands:
    def test_a_key_a_signature_and_a_look_at_it(self, library, folder, tmp_path, capsys):
        key = tmp_path / "new.pem"
        assert run(["keys", "new", str(key), "--openssf"]) == 0
        assert run(["sign", str(folder), "--openssf", "--key", str(key)]) == 0
        assert run(["verify", str(folder), "--openssf", "--public", f"{key}.pub"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].endswith(f"{key} signs, {key}.pub is for others to trust")
        assert lines[1:] == [
            f"{make_artifact().digest}: signed in the OpenSSF format by {key}, in {folder}.sig",
            f"{make_artifact().digest}: {folder}.sig is signed by the key in {key}.pub; "
            "every byte is as it was signed",
        ]
        place = tmp_path / "named"
        assert run(["sign", str(folder), "--openssf", "--key", str(key), "--bundle", str(place)]) == 0
        flipped(place, 4_000)
        words = ["verify", str(folder), "--openssf", "--public", f"{key}.pub", "--bundle", str(place)]
        assert run(words) == 2
        assert capsys.readouterr().err.count("\n") == 1

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["sign", "a", "--openssf"], "no private key was given; name its file with --key"),
            (["verify", "a", "--openssf"], "no public key was given; name its file with --public"),
            (["sign", "a", "--bundle", "b"], "--bundle: is for the OpenSSF format alone; add --openssf"),
            (["verify", "a", "--public", "b"], "--public: is for the OpenSSF format alone; add --openssf"),
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, words, said, capsys):
        assert run(words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1

    def test_without_the_extra_one_line_names_it(self, folder, key, public, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "model_signing", None)
        for words in (
            ["sign", str(folder), "--openssf", "--key", str(key)],
            ["verify", str(folder), "--openssf", "--public", str(public)],
        ):
            assert run(words) == 2
            assert capsys.readouterr().err == (
                "stairways: the OpenSSF format needs model_signing, which is not installed; "
                'pip install "stairways[openssf]"\n'
            )
        with pytest.raises(ConfigError):
            sign_openssf(folder, key, bundle_beside(folder))

    def test_without_what_the_library_does_not_ask_for_too(self, library):
        code = "import sys\nsys.modules['OpenSSL'] = None\nfrom stairways.cli.main import run\n"
        code += "sys.exit(run(['verify', 'a', '--openssf', '--public', 'b']))"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert ended.stderr.startswith("stairways: the OpenSSF format needs OpenSSL, which is not installed")
        assert ended.stderr.count("\n") == 1
