# make install [DESTDIR=DIR] [PREFIX=/usr]: the program and what belongs to it, where packagers
# expect them. Needs no root where DESTDIR is one's own. Every directory below can be set.
# Nothing is enabled: `beadm-rs init` says what a system needs enabled.

PREFIX ?= /usr
DESTDIR ?=
SBINDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR ?= $(PREFIX)/share/zsh/site-functions
FISHCOMPDIR ?= $(PREFIX)/share/fish/vendor_completions.d
DOCDIR ?= $(PREFIX)/share/doc/beadm-rs
LIBDIR ?= $(PREFIX)/lib/beadm-rs
SYSTEMDDIR ?= $(PREFIX)/lib/systemd
KERNELDIR ?= $(PREFIX)/lib/kernel
SYSCONFDIR ?= /etc
ALPMHOOKDIR ?= $(PREFIX)/share/libalpm/hooks
# dracut looks for modules nowhere else, whatever the prefix (dracut(8), dracutbasedir).
DRACUTDIR ?= /usr/lib/dracut

CARGO ?= cargo
# Programs built elsewhere are installed as they are: make install BINARY=FILE WATCH=FILE.
BINARY ?= $(or $(CARGO_TARGET_DIR),target)/release/beadm-rs
# The dead man's switch. It runs where there is no library yet: linked statically.
WATCH ?= $(or $(CARGO_TARGET_DIR),target)/watch/beadm-rs-watch

# One hook under four names.
HOOKS = \
	$(KERNELDIR)/install.d/95-beadm-rs.install \
	$(SYSCONFDIR)/kernel/postinst.d/zz-beadm-rs \
	$(SYSCONFDIR)/kernel/postrm.d/zz-beadm-rs \
	$(SYSCONFDIR)/initramfs/post-update.d/zz-beadm-rs

UNITS := $(notdir $(wildcard dist/systemd/*))
DRACUT := $(notdir $(wildcard dist/dracut/90beadm-rs/*))

# MODE:SOURCE:TARGET of every file.
FILES = \
	0755:$(BINARY):$(SBINDIR)/beadm-rs \
	0755:$(WATCH):$(LIBDIR)/watch \
	0644:man/beadm-rs.8:$(MANDIR)/man8/beadm-rs.8 \
	0644:man/beadm-rs-synclist.5:$(MANDIR)/man5/beadm-rs-synclist.5 \
	0644:man/beadm-rs-dialects.7:$(MANDIR)/man7/beadm-rs-dialects.7 \
	0644:dist/synclist:$(DOCDIR)/synclist \
	0644:completions/beadm-rs.bash:$(BASHCOMPDIR)/beadm-rs \
	0644:completions/_beadm-rs:$(ZSHCOMPDIR)/_beadm-rs \
	0644:completions/beadm-rs.fish:$(FISHCOMPDIR)/beadm-rs.fish \
	0644:README.md:$(DOCDIR)/README.md \
	0644:CHANGELOG.md:$(DOCDIR)/CHANGELOG.md \
	0644:LICENSE-MIT:$(DOCDIR)/LICENSE-MIT \
	0644:LICENSE-APACHE:$(DOCDIR)/LICENSE-APACHE \
	$(foreach hook,$(HOOKS),0755:dist/kernel/beadm-rs:$(hook)) \
	0644:dist/apt/80beadm-rs:$(SYSCONFDIR)/apt/apt.conf.d/80beadm-rs \
	0644:dist/pacman/10-beadm-rs.hook:$(ALPMHOOKDIR)/10-beadm-rs.hook \
	0644:dist/dnf/beadm-rs.actions:$(SYSCONFDIR)/dnf/libdnf5-plugins/actions.d/beadm-rs.actions \
	$(foreach unit,$(UNITS),0644:dist/systemd/$(unit):$(SYSTEMDDIR)/system/$(unit)) \
	$(foreach file,$(DRACUT),0755:dist/dracut/90beadm-rs/$(file):$(DRACUTDIR)/modules.d/90beadm-rs/$(file))

# The program under the name by which it is systemd's generator.
GENERATOR = $(SYSTEMDDIR)/system-generators/beadm-rs-generator

all: $(BINARY) $(WATCH)

# Made only where they are not there, so that root installs what somebody else has built.
$(BINARY):
	$(CARGO) build --release --locked

$(WATCH):
	$(CARGO) rustc --profile watch --locked -p beadm-rs-watch -- -C target-feature=+crt-static

install: $(BINARY) $(WATCH)
	@set -e; for file in $(FILES); do \
		mode=$${file%%:*} rest=$${file#*:}; source=$${rest%%:*} target=$(DESTDIR)$${rest#*:}; \
		install -D -m "$$mode" "$$source" "$$target"; \
		case $$source in dist/systemd/* | dist/kernel/* | dist/apt/* | dist/pacman/* | dist/dnf/*) sed -i 's|/usr/sbin/beadm-rs|$(SBINDIR)/beadm-rs|g' "$$target" ;; esac; \
	done
	@install -d -m 0755 "$(DESTDIR)$(dir $(GENERATOR))"
	@ln -sfr "$(DESTDIR)$(SBINDIR)/beadm-rs" "$(DESTDIR)$(GENERATOR)"

# make deb [BINARY=FILE] [WATCH=FILE]: packages for Debian, in DEBDIR. Streams are sent through
# libzfs_core there (the feature libzetta), whose headers are in libzfslinux-dev.
DEBDIR ?= $(or $(CARGO_TARGET_DIR),target)/debian

deb:
	@[ "$(origin BINARY)" = "command line" ] || $(CARGO) build --release --locked --features libzetta
	@rm -rf "$(DEBDIR)"
	@$(MAKE) --no-print-directory install DESTDIR="$(DEBDIR)/installed" \
		ZSHCOMPDIR=$(PREFIX)/share/zsh/vendor-completions
	@dist/debian/build "$(DEBDIR)/installed" "$(DEBDIR)"
	@rm -rf "$(DEBDIR)/installed"

# Directories stay: most of them are not this project's.
uninstall:
	@set -e; for file in $(FILES); do rm -f "$(DESTDIR)$${file##*:}"; done
	@rm -f "$(DESTDIR)$(GENERATOR)"
	@for dir in "$(DESTDIR)$(DRACUTDIR)/modules.d/90beadm-rs" "$(DESTDIR)$(DOCDIR)" "$(DESTDIR)$(LIBDIR)"; do \
		[ ! -d "$$dir" ] || rmdir --ignore-fail-on-non-empty "$$dir"; done

.PHONY: all deb install uninstall
