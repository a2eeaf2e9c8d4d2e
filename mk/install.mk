# make release, make install, make uninstall. DESTDIR and PREFIX as the GNU coding standards have them; the programs are
# built before (make release) and not by the install, so that `sudo make install` needs no compiler.
#
# Bus policy, polkit actions and polkit rules are read from /usr/share only, whatever the prefix: HOSTDATADIR.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
DATADIR ?= $(PREFIX)/share
HOSTDATADIR ?= /usr/share
SYSCONFDIR ?= /etc
MANDIR ?= $(DATADIR)/man
DOCDIR ?= $(DATADIR)/doc/claviger
UNITDIR ?= $(LIBDIR)/systemd/system
SYSUSERSDIR ?= $(LIBDIR)/sysusers.d
TMPFILESDIR ?= $(LIBDIR)/tmpfiles.d
UDEVRULESDIR ?= $(LIBDIR)/udev/rules.d
BASHDIR ?= $(DATADIR)/bash-completion/completions
ZSHDIR ?= $(DATADIR)/zsh/site-functions
FISHDIR ?= $(DATADIR)/fish/vendor_completions.d

# Where the built programs are.
TARGETDIR ?= target/release
GENERATED = $(TARGETDIR)/generated

CARGO ?= cargo
INSTALL ?= install
INSTALL_PROGRAM = $(INSTALL) -D -m 0755
INSTALL_DATA = $(INSTALL) -D -m 0644

# The daemon with its client and the simulator are two packages of a distribution: install-daemon, install-simulator.
DAEMON = claviger clavigerd
SIMULATOR = claviger-sim
PROGRAMS = $(DAEMON) $(SIMULATOR)
INTERFACES = $(wildcard dbus/*.xml)
MANUAL = $(wildcard docs/manual/*.md) $(wildcard docs/*.md)
PAGES = README.md CHANGELOG.md SECURITY.md $(LICENSES)
# A distribution has a place of its own for them.
LICENSES ?= LICENSE-APACHE LICENSE-MIT

.PHONY: release install install-daemon install-simulator uninstall install-generated

release:
	$(CARGO) build --release --locked --workspace --bins

# Man pages and completions come from the definition that parses the command line.
install-generated:
	@for program in $(PROGRAMS); do test -x $(TARGETDIR)/$$program || \
	  { echo "make install: $(TARGETDIR)/$$program is not there; run “make release” first" >&2; exit 1; }; done
	@rm -rf $(GENERATED)
	$(TARGETDIR)/claviger generate man $(GENERATED)/man
	$(TARGETDIR)/claviger generate completions $(GENERATED)/completions
	$(TARGETDIR)/claviger-sim man > $(GENERATED)/man/claviger-sim.1

install: install-daemon install-simulator
ifeq ($(DESTDIR),)
	@echo "Installed. Next, as root: see docs/manual/install.md, “After make install”."
endif

install-simulator: install-generated
	$(INSTALL_PROGRAM) $(TARGETDIR)/$(SIMULATOR) $(DESTDIR)$(BINDIR)/$(SIMULATOR)
	$(INSTALL_DATA) $(GENERATED)/man/$(SIMULATOR).1 $(DESTDIR)$(MANDIR)/man1/$(SIMULATOR).1

install-daemon: install-generated
	for program in $(DAEMON); do $(INSTALL_PROGRAM) $(TARGETDIR)/$$program $(DESTDIR)$(BINDIR)/$$program || exit 1; done
	sed 's|/usr/bin/clavigerd|$(BINDIR)/clavigerd|' systemd/clavigerd.service > $(GENERATED)/clavigerd.service
	$(INSTALL_DATA) $(GENERATED)/clavigerd.service $(DESTDIR)$(UNITDIR)/clavigerd.service
	$(INSTALL_DATA) systemd/claviger.sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/claviger.conf
	$(INSTALL_DATA) systemd/claviger.tmpfiles.conf $(DESTDIR)$(TMPFILESDIR)/claviger.conf
	$(INSTALL_DATA) udev/70-claviger.rules $(DESTDIR)$(UDEVRULESDIR)/70-claviger.rules
	$(INSTALL_DATA) systemd/org.claviger.Claviger1.service \
	  $(DESTDIR)$(DATADIR)/dbus-1/system-services/org.claviger.Claviger1.service
	$(INSTALL_DATA) systemd/org.claviger.Claviger1.conf $(DESTDIR)$(HOSTDATADIR)/dbus-1/system.d/org.claviger.Claviger1.conf
	for file in $(INTERFACES); do $(INSTALL_DATA) $$file $(DESTDIR)$(DATADIR)/dbus-1/interfaces/$${file##*/} || exit 1; done
	$(INSTALL_DATA) polkit/org.claviger.policy $(DESTDIR)$(HOSTDATADIR)/polkit-1/actions/org.claviger.policy
	$(INSTALL_DATA) polkit/60-claviger-pcscd.rules $(DESTDIR)$(HOSTDATADIR)/polkit-1/rules.d/60-claviger-pcscd.rules
	for page in $(GENERATED)/man/*.1; do test $$page = $(GENERATED)/man/$(SIMULATOR).1 || $(INSTALL_DATA) $$page $(DESTDIR)$(MANDIR)/man1/$${page##*/} || exit 1; done
	$(INSTALL_DATA) man/clavigerd.toml.5 $(DESTDIR)$(MANDIR)/man5/clavigerd.toml.5
	for page in $(GENERATED)/man/*.8; do $(INSTALL_DATA) $$page $(DESTDIR)$(MANDIR)/man8/$${page##*/} || exit 1; done
	$(INSTALL_DATA) $(GENERATED)/completions/claviger.bash $(DESTDIR)$(BASHDIR)/claviger
	$(INSTALL_DATA) $(GENERATED)/completions/_claviger $(DESTDIR)$(ZSHDIR)/_claviger
	$(INSTALL_DATA) $(GENERATED)/completions/claviger.fish $(DESTDIR)$(FISHDIR)/claviger.fish
	$(INSTALL_DATA) $(GENERATED)/completions/clavigerd.bash $(DESTDIR)$(BASHDIR)/clavigerd
	$(INSTALL_DATA) $(GENERATED)/completions/_clavigerd $(DESTDIR)$(ZSHDIR)/_clavigerd
	$(INSTALL_DATA) $(GENERATED)/completions/clavigerd.fish $(DESTDIR)$(FISHDIR)/clavigerd.fish
	for file in $(PAGES) $(MANUAL); do $(INSTALL_DATA) $$file $(DESTDIR)$(DOCDIR)/$$file || exit 1; done
	$(INSTALL_DATA) polkit/50-claviger-helpdesk.rules.example $(DESTDIR)$(DOCDIR)/examples/50-claviger-helpdesk.rules
	$(INSTALL_DATA) examples/desk.py $(DESTDIR)$(DOCDIR)/examples/desk.py

# What the administrator made stays: /etc/claviger, /var/lib/claviger, the account.
uninstall:
	rm -f $(PROGRAMS:%=$(DESTDIR)$(BINDIR)/%)
	rm -f $(DESTDIR)$(UNITDIR)/clavigerd.service
	rm -f $(DESTDIR)$(SYSUSERSDIR)/claviger.conf $(DESTDIR)$(TMPFILESDIR)/claviger.conf
	rm -f $(DESTDIR)$(UDEVRULESDIR)/70-claviger.rules
	rm -f $(DESTDIR)$(DATADIR)/dbus-1/system-services/org.claviger.Claviger1.service
	rm -f $(DESTDIR)$(HOSTDATADIR)/dbus-1/system.d/org.claviger.Claviger1.conf
	rm -f $(INTERFACES:dbus/%=$(DESTDIR)$(DATADIR)/dbus-1/interfaces/%)
	rm -f $(DESTDIR)$(HOSTDATADIR)/polkit-1/actions/org.claviger.policy
	rm -f $(DESTDIR)$(HOSTDATADIR)/polkit-1/rules.d/60-claviger-pcscd.rules
	rm -f $(DESTDIR)$(MANDIR)/man1/claviger.1 $(DESTDIR)$(MANDIR)/man1/claviger-*.1 \
	  $(DESTDIR)$(MANDIR)/man5/clavigerd.toml.5 $(DESTDIR)$(MANDIR)/man8/clavigerd.8
	rm -f $(DESTDIR)$(BASHDIR)/claviger $(DESTDIR)$(BASHDIR)/clavigerd
	rm -f $(DESTDIR)$(ZSHDIR)/_claviger $(DESTDIR)$(ZSHDIR)/_clavigerd
	rm -f $(DESTDIR)$(FISHDIR)/claviger.fish $(DESTDIR)$(FISHDIR)/clavigerd.fish
	rm -rf $(DESTDIR)$(DOCDIR)
