package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"carbonado.dev/examples/hello/greetv1"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/sdktest"
)

func greeting(t *testing.T, c *sdktest.Component, name string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := greetv1.NewGreeterClient(c.Conn("acme.greet.v1.Greeter")).Greet(ctx, &greetv1.GreetRequest{Name: name})
	return r.GetText(), err
}

func TestGreets(t *testing.T) {
	k := sdktest.NewKernel(t)
	hello := k.Start(start)
	if text, err := greeting(t, hello, "Ada"); err != nil || text != "Hello, Ada" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := greeting(t, hello, ""); !errors.Is(cause.From(err), errNobody) {
		t.Errorf("nobody: %v", err)
	}
}

func TestIsPoliteIfConfiguredSo(t *testing.T) {
	k := sdktest.NewKernel(t)
	hello := k.Start(start, sdktest.WithConfig(map[string]any{"polite": true}))
	if text, err := greeting(t, hello, "Ada"); err != nil || text != "Good day, Ada" {
		t.Errorf("%q, %v", text, err)
	}
}

// other is another component's greeter.
type other struct {
	greetv1.UnimplementedGreeterServer
}

func (other) Greet(_ context.Context, r *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	return &greetv1.GreetResponse{Text: "ayubowan, " + r.Name}, nil
}

func TestAsksTheNextGreeterIfThereIsOne(t *testing.T) {
	k := sdktest.NewKernel(t)
	k.Provide(&greetv1.Greeter_ServiceDesc, other{}, nil)
	hello := k.Start(start)
	if text, err := greeting(t, hello, "Ada"); err != nil || text != "Hello, Ada; ayubowan, Ada" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestAnswersOnTheWeb(t *testing.T) {
	k := sdktest.NewKernel(t)
	web := k.Start(start).HTTP(sdktest.Admin())
	for path, want := range map[string]string{"/hello?name=Ada": "Hello, Ada\n", "/hello": "Hello, admin\n"} {
		r, err := web.Get("http://node" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != http.StatusOK || string(body) != want {
			t.Errorf("%s: %s %q", path, r.Status, body)
		}
	}
}

func TestVerb(t *testing.T) {
	k := sdktest.NewKernel(t)
	web := k.Start(start).HTTP(sdktest.Admin())
	for _, c := range []struct {
		args   []string
		admin  *http.Client
		code   int
		stdout string
	}{
		{[]string{"Ada Lovelace"}, web, 0, "Hello, Ada Lovelace\n"},
		{nil, web, 64, ""},
		{[]string{"Ada"}, component.AdminClient("/no/socket"), 69, ""},
	} {
		var out, errs bytes.Buffer
		code := greet(t.Context(), &component.Invocation{Args: c.args, Stdout: &out, Stderr: &errs, Admin: c.admin})
		if code != c.code || out.String() != c.stdout || (code != 0) != (strings.TrimSpace(errs.String()) != "") {
			t.Errorf("%q: code %d, %q, %q", c.args, code, &out, &errs)
		}
	}
}
