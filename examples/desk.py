#!/usr/bin/python3
"""A small help-desk client of clavigerd, to learn the D-Bus interface from.

    desk.py devices
    desk.py register-fob SUBJECT SERIAL SEED_FILE CODE CODE
    desk.py test TOKEN [--code CODE] [--pin]
    desk.py revoke TOKEN REASON

Debian packages: python3-dbus python3-gi. It talks to the bus in DBUS_SESSION_BUS_ADDRESS when the daemon is there (session
mode), else to the system bus, where polkit decides. The interface is described in dbus/*.xml.
"""

import argparse
import getpass
import os
import sys
import unicodedata

import dbus
import dbus.lowlevel
import dbus.mainloop.glib
from gi.repository import GLib

SERVICE = "org.claviger.Claviger1"
ROOT = "/org/claviger/Claviger1"
TOKENS = ROOT + "/tokens"
TOKENS1 = "org.claviger.Tokens1"
OPERATION = "org.claviger.Operation1"

# polkit may have to ask the administrator for a password before a method answers.
CALL_TIMEOUT_S = 180


def connect():
    """The bus that has the daemon: the session bus if it owns the name there, else the system bus."""
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    if os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        try:
            bus = dbus.SessionBus()
            if bus.name_has_owner(SERVICE):
                return bus
        except dbus.DBusException:
            pass  # No session bus after all.
    return dbus.SystemBus()


def call(bus, path, method, signature="", *arguments):
    """Calls a method of the daemon and gives what it answers.

    The message says that a person sits in front of it (ALLOW_INTERACTIVE_AUTHORIZATION): only then may polkit ask for a
    password. dbus-python's proxies cannot say so, hence the message by hand.
    """
    interface, member = method.rsplit(".", 1)
    message = dbus.lowlevel.MethodCallMessage(SERVICE, path, interface, member)
    message.set_allow_interactive_authorization(True)
    message.append(*arguments, signature=signature)
    answer = bus.send_message_with_reply_and_block(message, CALL_TIMEOUT_S).get_args_list()
    return answer[0] if len(answer) == 1 else answer


def options(**members):
    """An `options a{sv}` argument. Every method that changes something takes one, be it empty."""
    return dbus.Dictionary(members, signature="sv")


def secret(data):
    """A descriptor to read a secret from: PINs and seeds never travel in a message, where a bus monitor would see them.

    A pipe will do for 4 KiB, the most the daemon reads; its buffer is larger than that.
    """
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    descriptor = dbus.types.UnixFd(reading)  # Takes a copy of the descriptor.
    os.close(reading)
    return descriptor


def list_devices(bus):
    """Devices are objects; ObjectManager tells them with all their properties in one call. No permission needed."""
    objects = call(bus, ROOT, "org.freedesktop.DBus.ObjectManager.GetManagedObjects")
    for path, interfaces in sorted(objects.items()):
        device = interfaces.get("org.claviger.Device1")
        if device is not None:
            # Names come from the device: what is not printable stays out of the terminal.
            name = "".join(c if c.isprintable() else "?" for c in device["Name"])
            print(f"{path.rsplit('/', 1)[1]:>3}  {name}  at {device['Place']}  ({device['State']})")


def run(bus, start):
    """Calls `start`, which answers with an operation's path, and stays with the operation until it is over.

    Returns (outcome, details). The signals are subscribed to before the call: a fast operation may be over before its path
    is known here. Should the signal have been missed all the same, Result() has the end for another minute.
    """
    loop = GLib.MainLoop()
    ended = {}  # path -> (outcome, details)
    waiting_for = []

    def completed(outcome, details, path=None):
        ended[path] = (str(outcome), details)
        if path in waiting_for:
            loop.quit()

    def progressed(phase, progress, user_action, path=None):
        if path in waiting_for and user_action:
            what, where = user_action.get("kind", "touch"), user_action.get("place", "")
            print(f"Please {what} the {user_action.get('name', 'key')} ({where})", file=sys.stderr)

    # Operations signal to their caller alone. Matching on the sender keeps others from speaking in the daemon's name.
    matches = [
        bus.add_signal_receiver(completed, "Completed", OPERATION, SERVICE, path_keyword="path"),
        bus.add_signal_receiver(progressed, "Progressed", OPERATION, SERVICE, path_keyword="path"),
    ]
    try:
        path = start()
        waiting_for.append(path)
        try:
            outcome, details = call(bus, path, OPERATION + ".Result")
            return str(outcome), details
        except dbus.DBusException as error:
            if error.get_dbus_name() != "org.claviger.Error.NotCompleted":
                raise
        if path not in ended:
            try:
                loop.run()
            except KeyboardInterrupt:
                # Up to its point of no return an operation can be cancelled; its end is still told.
                call(bus, path, OPERATION + ".Cancel")
                loop.run()
        return ended[path]
    finally:
        for match in matches:
            match.remove()


def finish(outcome, details):
    """Says how it ended; gives the exit code."""
    if outcome == "done":
        print("done:", ", ".join(f"{key} {value}" for key, value in sorted(details.items())))
        return 0
    if outcome == "obliged":
        print("done, but something is left to do when the device is next plugged in: obligation", details["obligation"])
        return 0
    if outcome == "cancelled":
        print("cancelled; nothing was done")
        return 1
    return explain(str(details.get("error", "")), str(details.get("message", "")), details)


def explain(name, message, details):
    """The daemon's sentence is good enough to be read out. A tool adds what its desk should do next, by error name."""
    advice = {
        "org.claviger.Error.CodeRejected": "Let the person read the next code. If it fails again: resync.",
        "org.claviger.Error.NeedsResync": "Run “claviger resync” with two codes that follow each other.",
        "org.claviger.Error.PinInvalid": f"Tries left: {details.get('tries-left', 'unknown')}. Do not guess.",
        "org.claviger.Error.SoftBlocked": "Unplug the key, plug it in again, then try once more.",
        "org.claviger.Error.PinBlocked": "Only a reset helps, and it deletes all passkeys on the key.",
        "org.claviger.Error.DeviceBusy": f"Close the program that uses it: {details.get('holder', 'unknown')}.",
        "org.freedesktop.DBus.Error.AccessDenied": "Your account lacks the permission; ask the administrator.",
    }
    print(f"refused: {message}", file=sys.stderr)
    if name in advice:
        print(f"  → {advice[name]}", file=sys.stderr)
    print(f"  [{name}]", file=sys.stderr)
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("devices", help="what is plugged in")
    fob = verbs.add_parser("register-fob", help="hand a display fob to a person")
    for argument in ("subject", "serial", "seed_file"):
        fob.add_argument(argument)
    fob.add_argument("codes", nargs=2, metavar="CODE", help="read off the display one after the other")
    test = verbs.add_parser("test", help="test a token")
    test.add_argument("token")
    test.add_argument("--code", help="what a fob shows now")
    test.add_argument("--pin", action="store_true", help="ask for the PIN of a FIDO2 key")
    revoke = verbs.add_parser("revoke", help="revoke a token, for good")
    revoke.add_argument("token")
    revoke.add_argument("reason")
    arguments = parser.parse_args()

    bus = connect()
    try:
        if arguments.verb == "devices":
            list_devices(bus)
            return 0
        if arguments.verb == "register-fob":
            with open(arguments.seed_file, "rb") as file:
                seed = secret(file.read(4096))
            subject, serial, codes = arguments.subject, arguments.serial, arguments.codes
            start = lambda: call(
                bus, TOKENS, TOKENS1 + ".RegisterFob", "sshasa{sv}", subject, serial, seed, codes, options()
            )
        elif arguments.verb == "test":
            how = options()
            if arguments.code:
                how["code"] = arguments.code
            if arguments.pin:
                # FIDO2 wants Unicode normalisation form C: the same PIN from every keyboard.
                pin = unicodedata.normalize("NFC", getpass.getpass("PIN: "))
                how["pin"] = secret(pin.encode())
            start = lambda: call(bus, TOKENS, TOKENS1 + ".Test", "sa{sv}", arguments.token, how)
        else:
            token, reason = arguments.token, arguments.reason
            start = lambda: call(bus, TOKENS, TOKENS1 + ".Revoke", "ssa{sv}", token, reason, options())
        return finish(*run(bus, start))
    except dbus.DBusException as error:
        # Not admitted, or the arguments are unsound: no operation was begun.
        return explain(error.get_dbus_name(), error.get_dbus_message(), {})


if __name__ == "__main__":
    sys.exit(main())
