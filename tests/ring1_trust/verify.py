"""Judges registrations and assertions by python-fido2's server. JSON in on standard input, one word out."""
import json
import sys

from fido2.server import Fido2Server
from fido2.utils import websafe_decode
from fido2.webauthn import AttestationObject
from fido2.webauthn import AuthenticatorAttestationResponse
from fido2.webauthn import CollectedClientData
from fido2.webauthn import PublicKeyCredentialRpEntity
from fido2.webauthn import RegistrationResponse


def main():
    asked = json.load(sys.stdin)
    rp = PublicKeyCredentialRpEntity(id=asked["rp_id"], name="judge")
    server = Fido2Server(rp, attestation="direct", verify_origin=lambda origin: origin == asked["origin"])
    state = {"challenge": asked["challenge"], "user_verification": "required"}
    if "assertion" in asked:
        made = AttestationObject(websafe_decode(asked["registration"]["response"]["attestationObject"]))
        server.authenticate_complete(state, [made.auth_data.credential_data], asked["assertion"])
        print("accepted")
        return
    answer = asked["registration"]
    if asked["form"] == "json":
        data = server.register_complete(state, answer)
    else:
        response = AuthenticatorAttestationResponse(
            client_data=CollectedClientData(websafe_decode(answer["response"]["clientDataJSON"])),
            attestation_object=AttestationObject(websafe_decode(answer["response"]["attestationObject"])),
        )
        data = server.register_complete(state, RegistrationResponse(raw_id=websafe_decode(answer["id"]), response=response))
    print("accepted", data.credential_data.public_key[3])


try:
    main()
except Exception as error:
    print("refused", type(error).__name__, error)
