// Package guardian is the process that stays when the kernel doesn't: parent of the kernel and of every component.
// It must not know go-plugin, gRPC or components: it forks, holds what must outlive a process, reaps, and ends what remains.
package guardian

import "context"

// Client is the kernel's end. Safe for concurrent use.
type Client struct{}

// Connect finds the guardian that started this process.
func Connect() (*Client, error) { return &Client{}, nil }

// Listener is a TCP listener that the guardian holds.
type Listener struct {
	Key string
	// Address is the bound address, for example "127.0.0.1:7611".
	Address string
}

// Listen opens a TCP listener under a key, or returns the open one of that key and address.
func (c *Client) Listen(ctx context.Context, key, address string) (Listener, error) { return Listener{}, nil }
