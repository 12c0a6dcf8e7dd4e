// Command Hello is a whole component of a third party: a service, an optional reference to another one, configuration, a web route
// and a verb of the command line. It must not know anything of Carbonado but its SDK.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"carbonado.dev/examples/hello/greetv1"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"

	"google.golang.org/grpc/codes"
)

func main() {
	component.Main(start, component.CLI("greet", "Greet somebody", greet))
}

// start is called in phase Prepare: it makes objects and registers services.
func start(c *component.C) error {
	g := &greeter{polite: c.Bool("polite"), other: c.Ref("next")}
	g.next = greetv1.NewGreeterClient(g.other)
	greetv1.RegisterGreeterServer(c, g)
	component.ServeHTTP(c, "/hello", g)
	c.Log().Info("ready to greet", "polite", g.polite)
	return nil
}

// errNobody is an entry of this component's own error catalogue.
var errNobody = cause.Define("ACME-GREET-001", "Nobody is to be greeted.", "Give a name.").Code(codes.InvalidArgument)

type greeter struct {
	greetv1.UnimplementedGreeterServer
	polite bool
	other  *component.Ref
	next   greetv1.GreeterClient
}

// Greet implements the contract.
func (g *greeter) Greet(ctx context.Context, r *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	if r.Name == "" {
		return nil, errNobody.New("the name is empty")
	}
	text := "Hello, " + r.Name
	if g.polite {
		text = "Good day, " + r.Name
	}
	if g.other.Bound() {
		more, err := g.next.Greet(ctx, r)
		if err != nil {
			return nil, err
		}
		text += "; " + more.Text
	}
	return &greetv1.GreetResponse{Text: text}, nil
}

// ServeHTTP answers /hello?name=…; without a name it greets who is signed in.
func (g *greeter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if name == "" {
		name = component.PrincipalFrom(r.Context()).GetUser()
	}
	answer, err := g.Greet(r.Context(), &greetv1.GreetRequest{Name: name})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, answer.Text)
}

// greet is `carbonado greet NAME`. It runs in a process of its own and asks the node by its admin socket.
func greet(ctx context.Context, in *component.Invocation) int {
	if len(in.Args) != 1 {
		fmt.Fprintln(in.Stderr, "usage: carbonado greet NAME")
		return 64
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://admin/hello?name="+url.QueryEscape(in.Args[0]), nil)
	if err != nil {
		return in.Fail(err)
	}
	answer, err := in.Admin.Do(request)
	if err != nil {
		return in.Fail(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return in.Fail(component.ErrAnswer.New("the server answers %s", answer.Status))
	}
	if _, err := io.Copy(in.Stdout, answer.Body); err != nil {
		return in.Fail(err)
	}
	return 0
}
