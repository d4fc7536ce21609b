# The two commands of the README: `make demo` and `make test`.

PREFIX ?= /usr/local
BINDIR = $(PREFIX)/bin
UNITDIR = $(PREFIX)/lib/systemd/system
DESTDIR ?=
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
# Static and not position-independent: a container start is two execs of these, and the dynamic
# loader alone would cost 0.3 ms each (docs/benchmarks.md).
KERNEL_FLAGS = -C target-feature=+crt-static -C relocation-model=static

.PHONY: build demo test bench install uninstall clean

build:
	scripts/need gcc:gcc
	cargo build --release --locked -p hull -p hulld
	RUSTFLAGS='$(KERNEL_FLAGS)' cargo build --profile kernel --locked --target $(HOST) -p hull-runtime -p hull-shim --bins
	mkdir -p dist
	install -m 755 target/release/hull target/release/hulld dist/
	install -m 755 target/$(HOST)/kernel/hull-runtime target/$(HOST)/kernel/hull-shim dist/

demo: build
	scripts/need busybox:busybox-static unshare:util-linux
	scripts/demo

test:
	scripts/need gcc:gcc busybox:busybox-static unshare:util-linux ip:iproute2 nft:nftables docker:docker.io \
	    docker-registry:docker-registry openssl:openssl /usr/include/seccomp.h:libseccomp-dev \
	    ps:procps criu:criu apparmor_parser:apparmor podman:podman runc:runc crun:crun newuidmap:uidmap containerd:containerd \
	    /usr/lib/cni/bridge:containernetworking-plugins \
	    dbus-daemon:dbus-daemon docker-compose:docker-compose python3:python3 /usr/lib/python3/dist-packages/pip:python3-pip \
	    /usr/share/doc/python3-venv:python3-venv npm:npm mkfs.xfs:xfsprogs mkfs.ext4:e2fsprogs
	scripts/clients
	cargo xtask test

bench: build
	cargo xtask bench

install: build
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 755 dist/hull dist/hulld dist/hull-runtime dist/hull-shim $(DESTDIR)$(BINDIR)/
	sed 's|@BINDIR@|$(BINDIR)|' packaging/systemd/hull.service > $(DESTDIR)$(UNITDIR)/hull.service
	install -m 644 packaging/systemd/hull.socket $(DESTDIR)$(UNITDIR)/
	dist/hull completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/hull
	dist/hull completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_hull
	dist/hull completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/hull.fish
	dist/hull man --dir $(DESTDIR)$(PREFIX)/share/man/man1
	dist/hulld --print man > $(DESTDIR)$(PREFIX)/share/man/man8/hulld.8
	dist/hulld --print bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/hulld
	dist/hulld --print zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_hulld
	dist/hulld --print fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/hulld.fish

uninstall:
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,hull hulld hull-runtime hull-shim)
	rm -f $(addprefix $(DESTDIR)$(UNITDIR)/,hull.service hull.socket)
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/bash-completion/completions/,hull hulld) \
	    $(addprefix $(DESTDIR)$(PREFIX)/share/zsh/site-functions/,_hull _hulld) \
	    $(addprefix $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/,hull.fish hulld.fish) \
	    $(DESTDIR)$(PREFIX)/share/man/man1/hull*.1 $(DESTDIR)$(PREFIX)/share/man/man8/hulld.8

clean:
	cargo clean
	rm -rf dist
