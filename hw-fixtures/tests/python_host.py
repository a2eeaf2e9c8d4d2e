"""python-fido2 as the host of a key on a reader or on hidraw: all that a host can ask of it, verified by python-fido2's own server code.

usage: python_host.py short|extended|hid. Speaks line by line: when it has said that it waits, standard input ends the wait.
"""

import sys
import threading
import time

from fido2.cose import ES256
from fido2.ctap import CtapError
from fido2.ctap1 import ApduError, Ctap1
from fido2.ctap2 import ClientPin, Config, CredentialManagement, Ctap2, FPBioEnrollment, LargeBlobs
from fido2.ctap2.bio import CaptureError
from fido2.hid import CAPABILITY, CtapHidDevice
from fido2.webauthn import AuthenticatorData

RP = {"id": "example.org", "name": "Example"}
HASH = b"\x11" * 32
PIN = "4712-key"


def kind(carrier):
    """The class of devices that a carrier has."""
    if carrier == "hid":
        return CtapHidDevice
    # Only where there is a pcscd: umockdev's preload crashes in the look for one.
    from fido2.pcsc import CtapPcscDevice

    return CtapPcscDevice


def device(carrier):
    until = time.monotonic() + 20
    while True:
        found = list(kind(carrier).list_devices())
        if found:
            if carrier != "hid":
                found[0].use_ext_apdu = carrier == "extended"
            return found[0]
        assert time.monotonic() < until, "no key"


def told(line):
    """Says that it waits, and waits for a word."""
    print(line, flush=True)
    sys.stdin.readline()


def u2f(key):
    """A key that has nothing newer than U2F: a credential, an assertion, and one that it does not know."""
    ctap = Ctap1(key)
    assert ctap.get_version() == "U2F_V2"
    party = b"\x22" * 32
    made = ctap.register(HASH, party)
    made.verify(party, HASH)
    for counter in (1, 2):
        got = ctap.authenticate(HASH, party, made.key_handle)
        got.verify(party, HASH, made.public_key)
        assert got.user_presence == 1 and got.counter >= counter, got
    try:
        ctap.authenticate(HASH, b"\x23" * 32, made.key_handle)
        raise AssertionError("another party's credential was used")
    except ApduError as error:
        assert error.code == 0x6A80, hex(error.code)
    try:
        ctap.authenticate(HASH, party, made.key_handle, check_only=True)
        raise AssertionError("signed although it was only asked")
    except ApduError as error:
        assert error.code == 0x6985, hex(error.code)


def fingers(ctap, pin):
    """Two fingers, with a sample that was no good, by name and removed."""
    token = pin.get_pin_token(PIN, ClientPin.PERMISSION.BIO_ENROLL)
    sensor = FPBioEnrollment(ctap, pin.protocol, token)
    enrolment, template, bad = sensor.enroll(), None, 0
    while template is None:
        try:
            template = enrolment.capture()
        except CaptureError:
            bad += 1
    assert bad == 1, bad
    sensor.set_name(template, "thumb")
    assert sensor.enumerate_enrollments() == {template: "thumb"}
    second = sensor.enroll()
    second.capture()
    second.cancel()
    sensor.remove_enrollment(template)
    try:
        assert sensor.enumerate_enrollments() == {}
    except CtapError as error:
        assert error.code == CtapError.ERR.INVALID_OPTION, error


def credential(ctap, pin, number):
    protocol = pin.protocol
    token = pin.get_pin_token(PIN, ClientPin.PERMISSION.MAKE_CREDENTIAL, RP["id"])
    user = {"id": bytes([number]) * 32, "name": "a" * 60}
    # An exclude list makes the request longer than one short APDU.
    exclude = [{"type": "public-key", "id": bytes([n]) * 100} for n in range(5)]
    made = ctap.make_credential(
        HASH,
        RP,
        user,
        [{"type": "public-key", "alg": ES256.ALGORITHM}],
        exclude,
        options={"rk": True},
        pin_uv_param=protocol.authenticate(token, HASH),
        pin_uv_protocol=protocol.VERSION,
    )
    data = made.auth_data.credential_data
    token = pin.get_pin_token(PIN, ClientPin.PERMISSION.GET_ASSERTION, RP["id"])
    got = ctap.get_assertion(
        RP["id"],
        HASH,
        [{"type": "public-key", "id": data.credential_id}],
        pin_uv_param=protocol.authenticate(token, HASH),
        pin_uv_protocol=protocol.VERSION,
    )
    assert got.auth_data.flags == AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV
    data.public_key.verify(got.auth_data + HASH, got.signature)


def administer(ctap, pin):
    """Rules for PINs, names of passkeys, large blobs, a reset that is not allowed here: on a key that has them."""
    token = pin.get_pin_token(PIN, ClientPin.PERMISSION.CREDENTIAL_MGMT)
    manager = CredentialManagement(ctap, pin.protocol, token)
    meta = manager.get_metadata()
    assert meta[CredentialManagement.RESULT.EXISTING_CRED_COUNT] == 2, meta
    parties = manager.enumerate_rps()
    assert [party[CredentialManagement.RESULT.RP]["id"] for party in parties] == [RP["id"]], parties
    found = manager.enumerate_creds(parties[0][CredentialManagement.RESULT.RP_ID_HASH])
    assert len(found) == 2, found
    user = dict(found[0][CredentialManagement.RESULT.USER], name="renamed", displayName="Renamed")
    manager.update_user_info(found[0][CredentialManagement.RESULT.CREDENTIAL_ID], user)
    found = manager.enumerate_creds(parties[0][CredentialManagement.RESULT.RP_ID_HASH])
    assert found[0][CredentialManagement.RESULT.USER]["name"] == "renamed", found

    if ctap.info.options.get("largeBlobs"):
        token = pin.get_pin_token(PIN, ClientPin.PERMISSION.LARGE_BLOB_WRITE)
        blobs = LargeBlobs(ctap, pin.protocol, token)
        blobs.put_blob(b"k" * 32, b"a certificate" * 9)
        assert blobs.get_blob(b"k" * 32) == b"a certificate" * 9
        blobs.delete_blob(b"k" * 32)
        assert blobs.read_blob_array() == []

    token = pin.get_pin_token(PIN, ClientPin.PERMISSION.AUTHENTICATOR_CFG)
    config = Config(ctap, pin.protocol, token)
    config.set_min_pin_length(5)
    assert ctap.get_info().min_pin_length == 5
    config.toggle_always_uv()
    assert ctap.get_info().options["alwaysUv"]
    config.toggle_always_uv()
    config.set_min_pin_length(force_change_pin=True)
    try:
        pin.get_pin_token(PIN, ClientPin.PERMISSION.CREDENTIAL_MGMT)
        raise AssertionError("a PIN that must be changed was taken")
    except CtapError as error:
        assert error.code == CtapError.ERR.PIN_POLICY_VIOLATION, error
    pin.change_pin(PIN, "4713-key")


def refused_reset(ctap):
    try:
        ctap.reset()
        raise AssertionError("reset where it is not allowed")
    except CtapError as error:
        assert error.code == CtapError.ERR.NOT_ALLOWED, error


def blocked(pin, current):
    """Three wrong PINs until it wants to be unplugged."""
    for code in ("PIN_INVALID", "PIN_INVALID", "PIN_AUTH_BLOCKED"):
        try:
            pin.get_pin_token("wrong-one")
            raise AssertionError("a wrong PIN was taken")
        except CtapError as error:
            assert error.code == CtapError.ERR[code], error
    try:
        pin.get_pin_token(current)
        raise AssertionError("a PIN was taken by a key that must be unplugged first")
    except CtapError as error:
        assert error.code == CtapError.ERR.PIN_AUTH_BLOCKED, error


def main(carrier):
    key = device(carrier)
    if carrier == "hid":
        assert key.ping(b"p" * 300) == b"p" * 300
        if key.capabilities & CAPABILITY.WINK:
            key.wink()
        if not key.capabilities & CAPABILITY.CBOR:
            u2f(key)
            print("done", flush=True)
            return
    ctap = Ctap2(key)
    pin = ClientPin(ctap)
    pin.set_pin("4711-key")
    pin.change_pin("4711-key", PIN)
    try:
        pin.get_pin_token("wrong-one")
        raise AssertionError("a wrong PIN was taken")
    except CtapError as error:
        assert error.code == CtapError.ERR.PIN_INVALID, error
    assert pin.get_pin_retries()[0] == 7
    for number in range(2):
        credential(ctap, pin, number)
    current = PIN
    if "bioEnroll" in ctap.info.options:
        fingers(ctap, pin)
    if ctap.info.options.get("authnrCfg"):
        administer(ctap, pin)
        current = "4713-key"
        if carrier != "hid":
            refused_reset(ctap)
    if carrier == "hid":
        blocked(pin, current)
        told("unplug")
        ctap = Ctap2(device(carrier))
        pin = ClientPin(ctap)
        pin.get_pin_token(current, ClientPin.PERMISSION.MAKE_CREDENTIAL, RP["id"])
        assert pin.get_pin_retries()[0] == 8
        told("unplug")
        ctap = Ctap2(device(carrier))
        ctap.reset()
        assert not ctap.get_info().options["clientPin"]
        try:
            ClientPin(ctap).get_pin_retries()
        except CtapError as error:
            assert error.code == CtapError.ERR.PIN_NOT_SET, error
    if "FIDO_2_1" not in ctap.info.versions:
        print("done", ctap.info.versions, flush=True)
        return
    seen, event = [], threading.Event()
    told("asked to touch")
    try:
        ctap.selection(event=event, on_keepalive=lambda state: (seen.append(state), event.set()))
        raise AssertionError("selected without a touch")
    except CtapError as error:
        assert error.code == CtapError.ERR.KEEPALIVE_CANCEL, error
    assert [int(state) for state in seen] == [2], seen
    print("done", ctap.info.versions, flush=True)


main(sys.argv[1])
