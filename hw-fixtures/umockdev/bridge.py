#!/usr/bin/python3
"""Simulated hidraw nodes by umockdev, driven over stdin and stdout.

Frames go both ways: u32 BE length of what follows, u8 kind, u16 BE key number, payload.
  to us:    01 ADD (JSON), 02 REMOVE, 11 report for the host
  from us:  81 READY (JSON), 82 ADDED (JSON), 83 REMOVED, 84 report from the host, 8f ERROR (text)

Every key gets a new number: umockdev cannot bring a number back. The end of stdin ends the testbed.
"""
import errno
import json
import os
import queue
import select
import shutil
import signal
import stat
import struct
import sys
import threading

import gi

gi.require_version("UMockdev", "1.0")
from gi.repository import GLib, UMockdev  # noqa: E402

# HID 1.11 report descriptor of a FIDO device (CTAP 2.1 section 11.2.8.1): usage page F1D0, 64 bytes in, 64 bytes out.
DESCRIPTOR = bytes.fromhex("06d0f1 0901 a101 0920 1500 26ff00 7508 9540 8102 0921 1500 26ff00 7508 9540 9102 c0")
MAJOR = 240
REPORT = 64
# ioctl numbers of <linux/hidraw.h>, all of type 'H'.
SIZE, GET, INFO, NAME, PHYS, FEATURE, UNIQ = 1, 2, 3, 4, 5, 7, 8


class Ioctls(UMockdev.IoctlBase):
    """Answers the ioctls of one hidraw node, and as the kernel with no more bytes than there are: callers ask with less room than they name."""

    def __init__(self, key):
        super().__init__()
        self.key = key

    def do_handle_ioctl(self, client):
        request = client.get_request()
        number, kind, size = request & 0xFF, request >> 8 & 0xFF, request >> 16 & 0x3FFF
        answer = self.answer(number, size) if kind == ord("H") else None
        if answer is None:
            client.complete(-1, errno.EINVAL)
            return True
        code, data = answer
        client.get_arg().resolve(0, len(data)).update(0, data)
        client.complete(code, 0)
        return True

    def answer(self, number, size):
        key = self.key
        if number == SIZE:
            return 0, struct.pack("i", len(DESCRIPTOR))
        if number == GET:
            return 0, struct.pack("I", len(DESCRIPTOR)) + DESCRIPTOR
        if number == INFO:
            return 0, struct.pack("IHH", 3, key["vendor_id"], key["product_id"])
        if number == FEATURE:
            return size, bytes(size)
        texts = {NAME: key["title"], PHYS: key["phys"], UNIQ: key["serial"]}
        if number not in texts:
            return None
        text = (texts[number].encode() + b"\0")[:size]
        return len(text), text


class Key:
    """One plugged-in key: its sysfs entries, its node, two threads for its reports."""

    def __init__(self, bed, number, about):
        self.bed, self.number = bed, number
        self.ioctls = None
        port = number + 1
        usb = f"/devices/pci0000:00/0000:00:14.0/usb1/1-{port}"
        ids = f"{about['vendor_id']:04X}:{about['product_id']:04X}"
        interface = f"{usb}/1-{port}:1.0"
        hid = f"{interface}/0003:{ids}.{port:04X}"
        self.chain = [f"{hid}/hidraw/hidraw{number}", hid, interface, usb]
        self.node = f"/dev/hidraw{number}"
        self.about = dict(about, phys=f"usb-0000:00:14.0-{port}/input0", title=f"{about['manufacturer']} {about['product']}")
        self.stop = threading.Event()
        self.outbox = queue.Queue()
        self.listening = threading.Event()
        self.master = -1

    def plug(self):
        about, testbed, number = self.about, self.bed.testbed, self.number
        raw, hid, interface, usb = self.chain
        serial = f"A: serial={about['serial']}\n" if about["serial"] else ""
        testbed.add_from_string(
            f"P: {usb}\nN: bus/usb/001/{number + 2:03d}\nE: DEVNAME=/dev/bus/usb/001/{number + 2:03d}\n"
            f"E: DEVTYPE=usb_device\nE: SUBSYSTEM=usb\nE: ID_VENDOR_ID={about['vendor_id']:04x}\n"
            f"E: ID_MODEL_ID={about['product_id']:04x}\nA: busnum=1\nA: devnum={number + 2}\n"
            f"A: idVendor={about['vendor_id']:04x}\nA: idProduct={about['product_id']:04x}\nA: bcdDevice=0100\n"
            f"A: manufacturer={about['manufacturer']}\nA: product={about['product']}\n{serial}"
        )
        testbed.add_from_string(
            f"P: {interface}\nE: DEVTYPE=usb_interface\nE: SUBSYSTEM=usb\nA: bInterfaceNumber=00\nA: bInterfaceClass=03\n"
        )
        testbed.add_from_string(
            f"P: {hid}\nE: SUBSYSTEM=hid\nE: DRIVER=hid-generic\n"
            f"E: HID_ID=0003:{about['vendor_id']:08X}:{about['product_id']:08X}\n"
            f"E: HID_NAME={about['title']}\nE: HID_PHYS={about['phys']}\nE: HID_UNIQ={about['serial']}\n"
            f"H: report_descriptor={DESCRIPTOR.hex().upper()}\n"
        )
        # The handler must be there before the node: adding the node is what sends the "add" event.
        self.ioctls = Ioctls(self.about)
        testbed.attach_ioctl(self.node, self.ioctls)
        testbed.add_from_string(
            f"P: {raw}\nN: hidraw{number}\nE: DEVNAME={self.node}\nE: MAJOR={MAJOR}\nE: MINOR={number}\n"
            f"E: SUBSYSTEM=hidraw\nE: ID_SECURITY_TOKEN=1\nA: dev={MAJOR}:{number}\n"
            f"L: device=../../../{os.path.basename(hid)}\n"
        )
        self.master = testbed.get_dev_fd(self.node)
        self.bed.open_to_everyone(self.node)
        for work in (self.read, self.write):
            threading.Thread(target=work, daemon=True).start()

    def read(self):
        """Reports from the host: hidraw writes carry a report number in front, 65 bytes."""
        pending = b""
        while not self.stop.is_set():
            if not select.select([self.master], [], [], 0.05)[0]:
                continue
            try:
                pending += os.read(self.master, 4096)
            except OSError as error:
                if error.errno != errno.EIO:
                    return
                # Nobody has the node open. What is left belongs to nobody.
                pending = b""
                self.listening.clear()
                self.stop.wait(0.01)
                continue
            self.listening.set()
            while len(pending) > REPORT:
                self.bed.say(0x84, self.number, pending[1 : REPORT + 1])
                pending = pending[REPORT + 1 :]

    def write(self):
        """Reports to the host. The kernel drops them while nobody listens, and so do we."""
        while not self.stop.is_set():
            report = self.outbox.get()
            if report is None or self.stop.is_set():
                return
            try:
                if self.listening.is_set() and select.select([], [self.master], [], 1.0)[1]:
                    os.write(self.master, report)
            except OSError:
                return

    def unplug(self):
        """Runs on the main loop, in the one order that umockdev survives."""
        testbed, root = self.bed.testbed, self.bed.root
        self.stop.set()
        self.outbox.put(None)
        node = root + self.node
        pts = os.readlink(node)
        testbed.uevent("/sys" + self.chain[0], "remove")
        testbed.detach_ioctl(self.node)
        for device in self.chain:
            testbed.remove_device("/sys" + device)
        for left in (f"{root}/dev/.ptymap/{pts.replace('/', '_')}", node):
            try:
                os.unlink(left)
            except FileNotFoundError:
                pass
        # Closing the master is what an open client notices.
        threading.Timer(0.06, os.close, [self.master]).start()


class Bed:
    """The testbed, its keys, and the conversation with the simulator."""

    def __init__(self):
        self.testbed = UMockdev.Testbed.new()
        self.root = self.testbed.get_root_dir()
        self.keys = {}
        self.lock = threading.Lock()
        self.out = os.fdopen(os.dup(1), "wb", buffering=0)
        # Nothing a library prints may end up between the frames.
        os.dup2(2, 1)
        os.chmod(self.root, 0o1777)

    def say(self, kind, number, payload=b""):
        frame = struct.pack(">IBH", len(payload) + 3, kind, number) + payload
        with self.lock:
            self.out.write(frame)

    def open_to_everyone(self, node):
        """A client under another uid reaches the node's pty and every ioctl socket."""
        os.chmod(os.readlink(self.root + node), 0o666)
        for folder, folders, files in os.walk(self.root):
            for name in folders:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | 0o055)
            for name in files:
                path = os.path.join(folder, name)
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    os.chmod(path, 0o666)

    def obey(self, kind, number, payload):
        if kind == 0x01:
            key = self.keys[number] = Key(self, number, json.loads(payload))
            key.plug()
            about = {"node": key.node, "syspath": "/sys" + key.chain[0]}
            self.say(0x82, number, json.dumps(about).encode())
        elif kind == 0x02:
            key = self.keys.pop(number, None)
            if key:
                key.unplug()
            self.say(0x83, number)

    def listen(self, loop):
        source = os.fdopen(0, "rb")
        while True:
            head = source.read(4)
            if len(head) < 4:
                break
            frame = source.read(struct.unpack(">I", head)[0])
            kind, number = struct.unpack(">BH", frame[:3])
            if kind == 0x11:
                key = self.keys.get(number)
                if key:
                    key.outbox.put(frame[3:])
            else:
                self.on_loop(lambda: self.obey(kind, number, frame[3:]), number)
        loop.quit()

    def on_loop(self, work, number):
        """umockdev wants its calls from the thread that runs the loop."""
        done = threading.Event()

        def run():
            try:
                work()
            except Exception as error:  # reported to the simulator, which gives up the key
                self.say(0x8F, number, repr(error).encode())
            done.set()
            return False

        GLib.idle_add(run)
        done.wait()


def main():
    # A Ctrl-C reaches the whole process group; the end of stdin is what ends us, in order.
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, signal.SIG_IGN)
    loop = GLib.MainLoop()
    bed = Bed()
    bed.say(0x81, 0, json.dumps({"dir": bed.root}).encode())
    threading.Thread(target=bed.listen, args=(loop,), daemon=True).start()
    loop.run()
    shutil.rmtree(bed.root, ignore_errors=True)
    sys.stderr.flush()
    os._exit(0)


main()
