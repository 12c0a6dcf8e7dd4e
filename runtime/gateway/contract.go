// Package gateway is the front door: it owns 9443 and 9763, signs people in once, and streams requests to the components
// that contributed the route. It must not know what a route does, how users are kept, or any component but by its routes.
package gateway

import (
	"context"

	"google.golang.org/grpc"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// Route is one published HTTPRoutes service.
type Route struct {
	// ID is the registry's id of the service; between equal prefixes the higher Ranking and then the lower ID wins.
	ID      uint64
	Ranking int32
	// Component that provides it.
	Component string
	// Properties of the registration: prefix, auth, transports (see http.proto).
	Properties map[string]string
	// Conn reaches the component's service socket. It may wait while the component restarts, up to the call's deadline.
	Conn grpc.ClientConnInterface
	// PrincipalKey signs principals for this component (ConfigureRequest.principal_key).
	PrincipalKey []byte
}

// Authenticators finds the service that knows users.
type Authenticators interface {
	// Authenticator gives the present one, or the cause why there is none.
	Authenticator() (analyticsv1.AuthenticatorClient, *commonv1.Cause)
}

// Identity of the node, for the gateway's own page.
type Node struct {
	// ID of the node and Version of the product.
	ID, Version string
	// Profile that was started, for example "receiver".
	Profile string
	// NoPortal says why no component serves "/": the rule that disables it, or the cause it doesn't run. Nil if unknown.
	NoPortal *commonv1.Cause
}

// Nodes describes this node.
type Nodes interface {
	Node() Node
}

type principalKey struct{}

// WithPrincipal returns a context that carries who asks.
func WithPrincipal(ctx context.Context, p *commonv1.Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom gives who asks, or nil.
func PrincipalFrom(ctx context.Context) *commonv1.Principal {
	p, _ := ctx.Value(principalKey{}).(*commonv1.Principal)
	return p
}
