#!/usr/bin/python3
"""Runs a program in a world of emulated security keys (umockdev) that echo every report.

Usage: umockdev-wrapper hidraw.py SHIM.so PROGRAM ARGS...

The program speaks to this bed by its standard output and input: a line "@plug N" or "@unplug N" is a wish, answered by a
line "done". Everything else it writes is passed on.
"""
import fcntl
import glob
import os
import select
import struct
import subprocess
import sys
import threading

import gi

gi.require_version("UMockdev", "1.0")
from gi.repository import GLib, UMockdev  # noqa: E402

# The report descriptor of CTAP 2.1 section 11.2.8.1, and a mouse that must not be taken for a key.
FIDO = bytes.fromhex("06d0f10901a1010920150026ff007508954081020921150026ff00750895409102c0")
MOUSE = bytes.fromhex("05010902a101c0")
HIDIOCGRDESCSIZE, HIDIOCGRDESC = 1, 2
# umockdev's emulated nodes have hidraw's major number here.
MAJOR = 240
# asm-generic/ioctls.h; Python's termios does not have it.
TIOCVHANGUP = 0x5437


class Ioctls(UMockdev.IoctlBase):
    """Answers the two questions hidapi asks when it opens a node."""

    def do_handle_ioctl(self, client):
        number = client.get_request() & 0xFF
        if number == HIDIOCGRDESCSIZE:
            answer = struct.pack("i", len(FIDO))
        elif number == HIDIOCGRDESC:
            answer = struct.pack("I", len(FIDO)) + FIDO
        else:
            client.complete(-1, 22)
            return True
        client.get_arg().resolve(0, len(answer)).update(0, answer)
        client.complete(0, 0)
        return True


class Key:
    """One plugged-in device."""

    def __init__(self, bed, number):
        self.bed, self.number = bed, number
        self.usb = f"/devices/pci0000:00/usb1/1-{number}"
        self.interface = f"{self.usb}/1-{number}:1.0"
        self.hid = f"{self.interface}/0003:1209:000{number}.0001"
        self.raw = f"{self.hid}/hidraw/hidraw{number}"
        self.node = f"/dev/hidraw{number}"
        bed.add_from_string(
            f"P: {self.usb}\nN: bus/usb/001/{number + 10:03d}\nE: DEVTYPE=usb_device\nE: SUBSYSTEM=usb\n"
            f"A: busnum=1\nA: devnum={number + 10}\nA: idVendor=1209\nA: idProduct=000{number}\n"
            f"A: manufacturer=ACME\nA: product=Key {number}\nA: serial=S{number}\n"
        )
        bed.add_from_string(f"P: {self.interface}\nE: DEVTYPE=usb_interface\nE: SUBSYSTEM=usb\n")
        # Number 9 is the mouse.
        descriptor = (MOUSE if number == 9 else FIDO).hex().upper()
        bed.add_from_string(f"P: {self.hid}\nE: SUBSYSTEM=hid\nH: report_descriptor={descriptor}\n")
        self.ioctls = Ioctls()
        bed.attach_ioctl(self.node, self.ioctls)
        bed.add_from_string(
            f"P: {self.raw}\nN: hidraw{number}\nE: DEVNAME={self.node}\nE: MAJOR={MAJOR}\nE: MINOR={number}\n"
            f"E: SUBSYSTEM=hidraw\nA: dev={MAJOR}:{number}\nL: device=../../../{os.path.basename(self.hid)}\n"
        )
        self.master = bed.get_dev_fd(self.node)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.echo, daemon=True)
        self.thread.start()

    def echo(self):
        pending = b""
        while not self.ended.is_set():
            if not select.select([self.master], [], [], 0.02)[0]:
                continue
            try:
                pending += os.read(self.master, 4096)
            except OSError:
                # Nobody has the other end open.
                self.ended.wait(0.02)
                continue
            while len(pending) >= 65:
                os.write(self.master, pending[1:65])
                pending = pending[65:]

    def unplug(self):
        self.ended.set()
        self.thread.join()
        root = self.bed.get_root_dir()
        pty = os.readlink(root + self.node)
        self.bed.uevent("/sys" + self.raw, "remove")
        self.bed.detach_ioctl(self.node)
        for path in (self.raw, self.hid, self.interface, self.usb):
            self.bed.remove_device("/sys" + path)
        os.unlink(root + "/dev/.ptymap/" + pty.replace("/", "_"))
        slave = os.open(pty, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.close(self.master)
        hang_up(slave, pty)


def hang_up(slave, pty):
    """Makes sure that whoever reads from the node is told: once in some hundred runs the pseudo-terminal outlived its master."""
    poll = select.poll()
    poll.register(slave, 0)
    if not poll.poll(1000):
        print(f"{pty} lives on; its masters: {masters(pty)}", file=sys.stderr, flush=True)
        fcntl.ioctl(slave, TIOCVHANGUP)
    os.close(slave)


def masters(pty):
    """Who has the other end open, as (process, descriptor)."""
    found = []
    for info in glob.glob("/proc/[0-9]*/fdinfo/*"):
        try:
            with open(info) as file:
                if f"tty-index:\t{os.path.basename(pty)}\n" in file.read():
                    found.append(tuple(info.split("/")[2::2]))
        except OSError:
            pass  # It ended meanwhile.
    return found


def main():
    shim, program = sys.argv[1], sys.argv[2:]
    bed = UMockdev.Testbed.new()
    keys = {number: Key(bed, number) for number in (1, 9)}
    environment = dict(os.environ, UMOCKDEV_DIR=bed.get_root_dir())
    environment["LD_PRELOAD"] = f"{shim} libumockdev-preload.so.0"
    child = subprocess.Popen(program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    loop = GLib.MainLoop()

    def fulfil(wish, number):
        if wish == "@plug":
            keys[number] = Key(bed, number)
        else:
            keys.pop(number).unplug()
        child.stdin.write("done\n")
        return False

    def listen():
        for line in child.stdout:
            # The test harness may have begun the line.
            at = line.find("@")
            words = line[at:].split() if at >= 0 else []
            if len(words) == 2 and words[0] in ("@plug", "@unplug"):
                GLib.idle_add(fulfil, words[0], int(words[1]))
            else:
                sys.stdout.write(line)
        loop.quit()

    threading.Thread(target=listen, daemon=True).start()
    loop.run()
    sys.stdout.flush()
    os._exit(child.wait())


main()
