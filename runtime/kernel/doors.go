package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/gateway"
	"carbonado.dev/carbonado/runtime/tlskeys"
	"carbonado.dev/sdk/cause"
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
	k.services, err = service.New(context.WithoutCancel(ctx), "kernel", k.log, filepath.Join(folder, "svc.sock"), service.ForAllUsers(k.confiner.users != nil))
	return err
}

// openKeys reads or makes the node's TLS pair.
func (k *Kernel) openKeys() error {
	s := k.basis().config.Server
	o := tlskeys.Options{Folder: filepath.Join(k.home, "repository", "resources", "security"), Hosts: []string{s.HostName.V, s.MgtHostName.V}}
	if location := s.KeyStore.Location.V; location != "" {
		if !filepath.IsAbs(location) {
			location = filepath.Join(k.home, location)
		}
		o.Store = &tlskeys.Store{Path: location, Password: s.KeyStore.Password.V, KeyPassword: s.KeyStore.KeyPassword.V, Alias: s.KeyStore.KeyAlias.V}
	}
	pair, err := tlskeys.Load(o)
	if err != nil {
		return err
	}
	if pair.Notice != nil {
		k.log.Warn("notice", "cause", pair.Notice.Error())
	}
	k.keys = pair
	return nil
}

// tlsPair is what a component with privilege tls.server gets.
func (k *Kernel) tlsPair() *controlv1.TLSPair {
	return &controlv1.TLSPair{CertificatePem: k.keys.CertificatePEM, KeyPem: k.keys.KeyPEM, MinVersion: k.basis().config.Server.TLSMinimum.V}
}

// openDoors opens the gateway's ports and the admin socket.
func (k *Kernel) openDoors(ctx context.Context) error {
	conf, err := k.keys.Server(k.basis().config.Server.TLSMinimum.V, "h2", "http/1.1")
	if err != nil {
		return err
	}
	https, err := k.door(ctx, "gateway/https", k.basis().config.Server.HTTPS.V)
	if err != nil {
		return err
	}
	http, err := k.door(ctx, "gateway/http", k.basis().config.Server.HTTP.V)
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
		PublicURL: "https://localhost:" + port, Version: k.options.Version, Errors: k.options.Errors,
	})
	k.gateway = gateway.New(gateway.Options{TLS: conf, Authenticators: k.auth, Nodes: k, API: k.admin, Metrics: k.metrics.handler(), OpenMetrics: !k.basis().config.Telemetry.MetricsAuthenticated.V, Observe: k.metrics.request, Telemetry: k.telemetry, Limits: gateway.Limits{Body: k.basis().config.Server.UploadLimit.V}, Log: k.logs.root.Named("gateway")})
	k.routes = k.followRoutes()
	k.serveGateway(https, http)
	k.socket, err = admin.ListenSocket(filepath.Join(k.home, "repository", "run"), k.gateway.As(operator()))
	return err
}

// serveGateway runs the gateway until closeDoors.
func (k *Kernel) serveGateway(https, http net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := k.gateway.Run(ctx, https, http); err != nil {
			k.log.Error("the gateway ended", "error", err)
			k.stop()
		}
	}()
	k.gatewayEnd = func() {
		cancel()
		<-ended
	}
}

// operator is whoever reaches the admin socket: the server's own user or root.
func operator() *commonv1.Principal {
	return &commonv1.Principal{User: "operator", Tenant: tenant, Roles: []string{"admin"}, Permissions: []string{"/permission"}, Via: admin.ViaSocket}
}

// door opens one port of the gateway; the guardian holds it.
func (k *Kernel) door(ctx context.Context, key string, port int) (net.Listener, error) {
	address := net.JoinHostPort("", strconv.Itoa(port+k.basis().config.Server.PortOffset.V))
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
	if k.gatewayEnd != nil {
		k.gatewayEnd()
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
	fmt.Fprintf(out, "Carbonado %s started, profile %s: %d components ACTIVE. %s\n", k.options.Version, k.basis().resolution.Profile, active, k.admin.PublicURL)
	if !k.options.Interactive {
		return
	}
	if c, err := k.admin.Credential(ctx, "sign-in", ""); err == nil {
		fmt.Fprintf(out, "Sign in once, within ten minutes: %s\n", c.URL)
	}
}
