// Command music is a component for measurements: it answers one question, and with a reference called "of" and the property `call` it
// asks its provider all the time and writes down how long its calls took. It must not know what is measured.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

func main() { component.Main(start) }

// slow is the least duration of a call that is written down.
const slow = 5 * time.Millisecond

type node struct {
	analyticsv1.UnimplementedAuthorizerServer
}

// Authorize says yes.
func (node) Authorize(context.Context, *analyticsv1.AuthorizeRequest) (*analyticsv1.AuthorizeResponse, error) {
	return &analyticsv1.AuthorizeResponse{Allowed: true}, nil
}

func start(c *component.C) error {
	analyticsv1.RegisterAuthorizerServer(c, node{})
	if c.Bool("call") {
		c.Manage(&caller{c: c, of: analyticsv1.NewAuthorizerClient(c.Ref("of"))})
	}
	return nil
}

// caller calls from Acquire to Stop.
type caller struct {
	c    *component.C
	of   analyticsv1.AuthorizerClient
	done chan struct{}
	file *os.File
}

// Acquire begins.
func (k *caller) Acquire(context.Context) error {
	f, err := os.OpenFile(filepath.Join(k.c.DataFolder(), "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	k.file, k.done = f, make(chan struct{})
	go k.run()
	return nil
}

// run writes a line per slow or failed call: when it began, in nanoseconds since 1970, how long it took, and its error.
func (k *caller) run() {
	defer close(k.done)
	for k.c.Context().Err() == nil {
		began := time.Now()
		_, err := k.of.Authorize(k.c.Context(), &analyticsv1.AuthorizeRequest{})
		took := time.Since(began)
		if (took >= slow || err != nil) && k.c.Context().Err() == nil {
			fmt.Fprintln(k.file, began.UnixNano(), took.Nanoseconds(), err)
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// Stop ends it: the component's context has ended.
func (k *caller) Stop(context.Context) error {
	<-k.done
	return k.file.Close()
}
