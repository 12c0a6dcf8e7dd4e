package kernel

import (
	"context"
	"os"
	"sync"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/gateway"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/registry"
	"carbonado.dev/sdk/cause"
	sdk "carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	httpv1 "carbonado.dev/sdk/proto/carbonado/http/v1"
	"carbonado.dev/sdk/telemetry"
)

var errNoAuthenticator = cause.Define("CBN-GW-090", "No component that knows users runs on this node.", "`carbonado plan` says why; the CLI on this node works without.")

// follower lets the kernel consume services through the SDK's references.
type follower struct {
	refs    *sdk.Refs
	changed func()
	stop    func()
}

// follow starts to consume the services that a query means; changed is called after each change and must not block.
func (k *Kernel) follow(name string, q registry.Query, changed func()) *follower {
	f := &follower{refs: sdk.NewRefs(telemetry.With(context.Background(), k.telemetry), name), changed: changed}
	f.stop = k.reconciler.Consume(name, q, os.Getpid(), os.Getuid(), f)
	return f
}

func (f *follower) close() {
	f.stop()
	f.refs.Close()
}

// Bind implements reconcile.Consumer.
func (f *follower) Bind(_ context.Context, r *controlv1.BindRequest) error {
	defer f.changed()
	return f.refs.Bind(r)
}

// Suspend implements reconcile.Consumer.
func (f *follower) Suspend(_ context.Context, r *controlv1.SuspendRequest) error {
	defer f.changed()
	f.refs.Suspend(r.ServiceId)
	return nil
}

// Unbind implements reconcile.Consumer.
func (f *follower) Unbind(_ context.Context, r *controlv1.UnbindRequest) error {
	defer f.changed()
	f.refs.Unbind(r.ServiceId)
	return nil
}

var _ reconcile.Consumer = (*follower)(nil)

// routes keeps the gateway's table equal to the HTTPRoutes services.
type routes struct {
	*follower
	k *Kernel
	// mu keeps updates of the table in order.
	mu sync.Mutex
}

func (k *Kernel) followRoutes() *routes {
	r := &routes{k: k}
	ready := make(chan struct{})
	r.follower = k.follow("routes", registry.Query{Service: httpv1.HTTPRoutes_ServiceDesc.ServiceName}, func() {
		<-ready
		r.update()
	})
	close(ready)
	return r
}

func (r *routes) update() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var table []gateway.Route
	for _, b := range r.refs.All() {
		table = append(table, gateway.Route{
			ID: b.ID(), Component: b.Provider(), Properties: b.Properties(), Conn: b, PrincipalKey: r.k.host.principalKey(b.Provider()),
		})
	}
	r.k.gateway.SetRoutes(table)
}

// authenticators finds the service that knows users (gateway.Authenticators).
type authenticators struct {
	*follower
	k *Kernel
}

func (k *Kernel) followAuthenticators() *authenticators {
	return &authenticators{k: k, follower: k.follow("authenticator", registry.Query{Service: analyticsv1.Authenticator_ServiceDesc.ServiceName}, func() {})}
}

// Authenticator implements gateway.Authenticators.
func (a *authenticators) Authenticator() (analyticsv1.AuthenticatorClient, *commonv1.Cause) {
	if len(a.refs.All()) > 0 {
		return analyticsv1.NewAuthenticatorClient(a.refs.Best()), nil
	}
	return nil, a.k.whyNobody(analyticsv1.Authenticator_ServiceDesc.ServiceName, errNoAuthenticator.New("nobody provides sign-in on this node"))
}

// whyNobody adds to a cause what is the matter with the components that could provide a service.
func (k *Kernel) whyNobody(serviceName string, err *cause.Error) *commonv1.Cause {
	c := component.CauseOf(err)
	for _, v := range k.reconciler.Views() {
		if v.Planned == nil || v.Planned.Package.Descriptor == nil || v.Cause == nil {
			continue
		}
		for _, p := range v.Planned.Package.Descriptor.Provides {
			if p.Service == serviceName {
				out := c.Because(*v.Cause)
				return out.Proto()
			}
		}
	}
	return c.Proto()
}

var errNoPortal = cause.Define("CBN-GW-091", "No component serves the web page on this node.", "`carbonado plan` says which rule keeps it out.")

// Node implements gateway.Nodes.
func (k *Kernel) Node() gateway.Node {
	n := gateway.Node{ID: k.nodeID, Version: k.options.Version, Profile: k.basis().resolution.Profile}
	served := false
	for _, b := range k.routes.refs.All() {
		served = served || b.Properties()["prefix"] == "/"
	}
	if !served {
		n.NoPortal = k.whyNoPage()
	}
	return n
}

// whyNoPage names the rule or the trouble of components that provide routes and don't run.
func (k *Kernel) whyNoPage() *commonv1.Cause {
	c := component.CauseOf(errNoPortal.New("no component serves / on this node"))
	var found *plan.Component
	for _, v := range k.reconciler.Views() {
		if v.Planned == nil || v.Planned.Package.Descriptor == nil || v.State == component.Active {
			continue
		}
		for _, p := range v.Planned.Package.Descriptor.Provides {
			if p.Service == httpv1.HTTPRoutes_ServiceDesc.ServiceName && p.Properties["page"] == "true" {
				found = v.Planned
				if v.Cause != nil {
					out := c.Because(*v.Cause)
					return out.Proto()
				}
			}
		}
	}
	if found != nil {
		c.Text += ": " + found.Name + " is kept out by " + found.Rule
	}
	return c.Proto()
}
