package kernel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/gateway"
	"carbonado.dev/carbonado/runtime/tlskeys"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/service"
)

// ErrDoor is the kind of a port of the gateway that can't be opened.
var ErrDoor = cause.Define("CBN-GW-092", "A port of the gateway can't be opened.", "End the process that holds the port (another server?), or start with -DportOffset=N.")

// openServices makes the kernel's own service socket; it is started when its services are registered.
func (k *Kernel) openServices(ctx context.Context) error {
	folder, err := k.supervisor.ShortFolder("kernel")
	if err != nil {
		return err
	}
	k.services, err = service.New(context.WithoutCancel(ctx), "kernel", k.log, filepath.Join(folder, "svc.sock"))
	return err
}

// openKeys reads or makes the node's TLS pair.
func (k *Kernel) openKeys() error {
	s := k.config.Server
	store := tlskeys.Store{Type: s.KeyStore.Type.V, Password: s.KeyStore.Password.V, KeyPassword: s.KeyStore.KeyPassword.V, Alias: s.KeyStore.KeyAlias.V}
	if location := s.KeyStore.Location.V; location != "" {
		store.Location = location
		if !filepath.IsAbs(location) {
			store.Location = filepath.Join(k.home, location)
		}
	}
	pair, err := tlskeys.Load(filepath.Join(k.home, "repository", "resources", "security"), store, []string{s.HostName.V, s.MgtHostName.V})
	if err != nil {
		return err
	}
	k.keys = pair
	return nil
}

// tlsPair is what a component with privilege tls.server gets.
func (k *Kernel) tlsPair() *controlv1.TLSPair {
	return &controlv1.TLSPair{CertificatePem: k.keys.CertificatePEM, KeyPem: k.keys.KeyPEM, MinVersion: k.config.Server.TLSMinimum.V}
}

// openDoors opens the gateway's ports and the admin socket.
func (k *Kernel) openDoors(ctx context.Context) error {
	least, err := component.TLSMinVersion(k.config.Server.TLSMinimum.V)
	if err != nil {
		return err
	}
	https, err := k.door(ctx, "gateway/https", k.config.Server.HTTPS.V)
	if err != nil {
		return err
	}
	http, err := k.door(ctx, "gateway/http", k.config.Server.HTTP.V)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(https.Addr().String())
	if err != nil {
		return err
	}
	k.auth = k.followAuthenticators()
	k.admin = admin.New(admin.Options{
		Runtime: k, Artifacts: k.deployer, Authenticators: k.auth, Certificate: k.keys.CertificatePEM,
		PublicURL: "https://localhost:" + port, Version: k.options.Version,
	})
	k.gateway, err = gateway.New(gateway.Options{
		Auth: k.auth, Nodes: k, API: k.admin, MinTLS: least, HTTPSPort: port, Log: k.logs.root.Named("gateway"),
		Certificate: func() *tls.Certificate { return &k.keys.Certificate },
	})
	if err != nil {
		return err
	}
	k.routes = k.followRoutes()
	k.gateway.Serve(https, http)
	k.socket, err = admin.ListenSocket(filepath.Join(k.home, "repository", "run"), k.gateway.Local(operator()))
	return err
}

// operator is whoever reaches the admin socket: the server's own user or root.
func operator() *commonv1.Principal {
	return &commonv1.Principal{User: "operator", Tenant: tenant, Roles: []string{"admin"}, Permissions: []string{"/permission"}, Via: "admin-socket"}
}

// door opens one port of the gateway; the guardian holds it.
func (k *Kernel) door(ctx context.Context, key string, port int) (net.Listener, error) {
	address := net.JoinHostPort("", strconv.Itoa(port+k.offset))
	bound, err := k.listen(ctx, key, address)
	if err != nil {
		return nil, ErrDoor.Wrap(err, "%s (%s)", key, address)
	}
	k.doors[key] = bound
	return k.guardian.Share(ctx, key)
}

// closeDoors ends the front of the node; what is under way gets until ctx ends.
func (k *Kernel) closeDoors(ctx context.Context) {
	var errs []error
	if k.socket != nil {
		errs = append(errs, k.socket.Close(ctx))
	}
	if k.gateway != nil {
		errs = append(errs, k.gateway.Close(ctx))
	}
	if k.routes != nil {
		k.routes.close()
	}
	if k.auth != nil {
		k.auth.close()
	}
	if err := errors.Join(errs...); err != nil {
		k.log.Warn("closing the front", "error", err)
	}
}

// writeSummary tells the person who started the server where it is, and what does not run.
func (k *Kernel) writeSummary(ctx context.Context) {
	out := k.options.Out
	active := 0
	for _, v := range k.reconciler.Views() {
		c := k.line(v)
		if c.State == "ACTIVE" {
			active++
		} else if v.Planned != nil && v.Planned.Enabled && v.Cause != nil {
			fmt.Fprintf(out, "  %s does not run: %s\n", v.Name, v.Cause.String())
		}
	}
	fmt.Fprintf(out, "Carbonado %s started, profile %s: %d components ACTIVE. %s\n", k.options.Version, k.resolution.Profile, active, k.admin.PublicURL)
	if !k.options.Interactive {
		return
	}
	if c, err := k.admin.Credential(ctx, "sign-in", ""); err == nil {
		fmt.Fprintf(out, "Sign in once, within ten minutes: %s\n", c.URL)
	}
}
