#!/usr/bin/python3
"""What udev would do with hidraw nodes, asked of `udevadm test` in an emulated /sys.

Usage: umockdev-wrapper udev.py NAME:VENDOR:PRODUCT:PROTOCOL:FIDO...

One line of JSON for each: its group, mode and tags. FIDO is 1 when udev's own fido_id would have known the key (it cannot
run here: it finds its device by an environment that `udevadm test` does not give it).
"""
import json
import re
import subprocess
import sys

import gi

gi.require_version("UMockdev", "1.0")
from gi.repository import UMockdev  # noqa: E402


def plug(bed, number, vendor, product, protocol, fido):
    """Adds USB device, interface, hid device and node; gives the node's path below /sys."""
    usb = f"/devices/pci0000:00/usb1/1-{number}"
    interface = f"{usb}/1-{number}:1.0"
    hid = f"{interface}/0003:{vendor}:{product}.000{number}"
    raw = f"{hid}/hidraw/hidraw{number}"
    known = "E: ID_FIDO_TOKEN=1\nE: ID_SECURITY_TOKEN=1\n" if fido == "1" else ""
    bed.add_from_string(
        f"P: {usb}\nN: bus/usb/001/{number + 10:03d}\nE: DEVTYPE=usb_device\nE: SUBSYSTEM=usb\n"
        f"A: busnum=1\nA: devnum={number + 10}\nA: idVendor={vendor}\nA: idProduct={product}\n"
    )
    bed.add_from_string(
        f"P: {interface}\nE: DEVTYPE=usb_interface\nE: SUBSYSTEM=usb\n"
        f"A: bInterfaceClass=03\nA: bInterfaceProtocol={protocol}\n"
    )
    bed.add_from_string(f"P: {hid}\nE: SUBSYSTEM=hid\n")
    bed.add_from_string(
        f"P: {raw}\nN: hidraw{number}\nE: DEVNAME=/dev/hidraw{number}\nE: MAJOR=240\nE: MINOR={number}\n"
        f"E: SUBSYSTEM=hidraw\n{known}A: dev=240:{number}\n"
    )
    return f"/sys{raw}"


def main():
    bed = UMockdev.Testbed.new()
    for number, argument in enumerate(sys.argv[1:], start=1):
        name, *ids = argument.split(":")
        node = plug(bed, number, *ids)
        ran = subprocess.run(["udevadm", "test", node], capture_output=True, text=True, timeout=30)
        said = ran.stdout + ran.stderr
        rule = lambda key: (re.findall(rf"70-claviger\.rules:\d+ {key} (\w+)", said) or [None])[-1]
        tags = re.findall(r"^\s*TAGS=(.*)$", said, re.MULTILINE)
        answer = {
            "name": name,
            "read": "70-claviger.rules" in said,
            "complaints": re.findall(r".*70-claviger\.rules:\d+ .*(?:nvalid|nknown|rror).*", said),
            "group": rule("GROUP"),
            "mode": rule("MODE"),
            "uaccess": any(":uaccess:" in tag for tag in tags),
        }
        print(json.dumps(answer))


main()
