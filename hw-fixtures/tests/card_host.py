"""python-fido2 as the host of a FIDO2 key on a reader: PIN, credential, assertion, verified by its own server code."""

import sys
import threading
import time

from fido2.cose import ES256
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin, Config, CredentialManagement, Ctap2, LargeBlobs
from fido2.pcsc import CtapPcscDevice
from fido2.webauthn import AuthenticatorData

RP = {"id": "example.org", "name": "Example"}
HASH = b"\x11" * 32


def device(extended):
    until = time.monotonic() + 20
    while True:
        found = list(CtapPcscDevice.list_devices())
        if found:
            found[0].use_ext_apdu = extended
            return found[0]
        assert time.monotonic() < until, "no key on any reader"


def credential(ctap, pin, number):
    protocol = pin.protocol
    token = pin.get_pin_token("4712-key", ClientPin.PERMISSION.MAKE_CREDENTIAL, RP["id"])
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
    token = pin.get_pin_token("4712-key", ClientPin.PERMISSION.GET_ASSERTION, RP["id"])
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
    token = pin.get_pin_token("4712-key", ClientPin.PERMISSION.CREDENTIAL_MGMT)
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

    token = pin.get_pin_token("4712-key", ClientPin.PERMISSION.LARGE_BLOB_WRITE)
    blobs = LargeBlobs(ctap, pin.protocol, token)
    blobs.put_blob(b"k" * 32, b"a certificate" * 9)
    assert blobs.get_blob(b"k" * 32) == b"a certificate" * 9
    blobs.delete_blob(b"k" * 32)
    assert blobs.read_blob_array() == []

    token = pin.get_pin_token("4712-key", ClientPin.PERMISSION.AUTHENTICATOR_CFG)
    config = Config(ctap, pin.protocol, token)
    config.set_min_pin_length(5)
    assert ctap.get_info().min_pin_length == 5
    config.toggle_always_uv()
    assert ctap.get_info().options["alwaysUv"]
    config.toggle_always_uv()
    config.set_min_pin_length(force_change_pin=True)
    try:
        pin.get_pin_token("4712-key", ClientPin.PERMISSION.CREDENTIAL_MGMT)
        raise AssertionError("a PIN that must be changed was taken")
    except CtapError as error:
        assert error.code == CtapError.ERR.PIN_POLICY_VIOLATION, error
    pin.change_pin("4712-key", "4713-key")
    try:
        ctap.reset()
        raise AssertionError("reset where it is not allowed")
    except CtapError as error:
        assert error.code == CtapError.ERR.NOT_ALLOWED, error


def main(extended):
    ctap = Ctap2(device(extended))
    pin = ClientPin(ctap)
    pin.set_pin("4711-key")
    pin.change_pin("4711-key", "4712-key")
    try:
        pin.get_pin_token("wrong-one")
        raise AssertionError("a wrong PIN was taken")
    except CtapError as error:
        assert error.code == CtapError.ERR.PIN_INVALID, error
    assert pin.get_pin_retries()[0] == 7
    for number in range(2):
        credential(ctap, pin, number)
    if ctap.info.options.get("authnrCfg"):
        administer(ctap, pin)
    print("asked to touch", flush=True)
    seen, event = [], threading.Event()
    sys.stdin.readline()
    try:
        ctap.selection(event=event, on_keepalive=lambda state: (seen.append(state), event.set()))
        raise AssertionError("selected without a touch")
    except CtapError as error:
        assert error.code == CtapError.ERR.KEEPALIVE_CANCEL, error
    assert [int(state) for state in seen] == [2], seen
    print("done", ctap.info.versions, flush=True)


main(sys.argv[1] == "extended")
