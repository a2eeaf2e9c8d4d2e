"""python-fido2 as the host of a FIDO2 key on a reader: PIN, credential, assertion, verified by its own server code."""

import sys
import threading
import time

from fido2.cose import ES256
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin, Ctap2
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
