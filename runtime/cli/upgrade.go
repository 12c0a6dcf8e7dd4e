package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
)

const (
	// upgradeLook is how often the node is asked how the upgrade goes: while it goes nobody answers.
	upgradeLook = 100 * time.Millisecond
	// upgradeSlack is how much longer than the new kernel's deadline the command waits: the old one takes leave, and may come back.
	upgradeSlack = time.Minute
)

// upgradeCommand replaces the kernel beneath running components.
func (a *app) upgradeCommand() *cobra.Command {
	var r admin.UpgradeRequest
	deadline := time.Minute
	c := &cobra.Command{
		Use: "upgrade [FILE]", Short: "Replace the kernel's program while components run: by FILE, or by bin/carbonado as it is now", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				file, err := filepath.Abs(args[0])
				if err != nil {
					return err
				}
				r.File = file
			}
			r.DeadlineMs = deadline.Milliseconds()
			return a.upgrade(cmd.Context(), r, deadline)
		},
	}
	c.Flags().StringVar(&r.Digest, "digest", "", "SHA-256 that the file must have")
	c.Flags().DurationVar(&deadline, "deadline", deadline, "how long the new kernel may take to be RUNNING before the program before it comes back")
	return c
}

func (a *app) upgrade(ctx context.Context, r admin.UpgradeRequest, deadline time.Duration) error {
	before, err := get[admin.Status](ctx, a, "/api/status")
	if err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	u, err := call[admin.Upgrade](ctx, a, http.MethodPost, "/api/upgrade", bytes.NewReader(b))
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "Handing over from %s to %s …\n", u.From, u.To)
	after, err := a.awaitUpgrade(ctx, before.KernelPid, u.At, deadline+upgradeSlack)
	if err != nil {
		return err
	}
	if after.Upgrade.State != "done" {
		return admin.ErrUpgradeFailed.New("to %s: %s", u.To, after.Upgrade.Reason)
	}
	return a.print(after, func(w io.Writer) {
		fmt.Fprintf(w, "Upgraded from %s to %s: %d of %d components run on, %d ms without a kernel.\n", u.From, u.To, after.Takeover.Components, after.Takeover.Of, after.Takeover.TookMs)
		if after.GuardianVersion != "" {
			fmt.Fprintf(w, "The guardian is %s until the server's next full start.\n", after.GuardianVersion)
		}
	})
}

// awaitUpgrade waits for another kernel that is RUNNING and knows what became of the upgrade.
func (a *app) awaitUpgrade(ctx context.Context, kernel int, at time.Time, most time.Duration) (admin.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(upgradeLook)
	defer tick.Stop()
	for {
		s, err := get[admin.Status](ctx, a, "/api/status")
		if err == nil && s.KernelPid != kernel && s.State == "RUNNING" && s.Takeover != nil && s.Upgrade != nil && s.Upgrade.At.Equal(at) {
			return s, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return admin.Status{}, admin.ErrTimeout.Wrap(errors.Join(err, ctx.Err()), "the kernel that follows is not RUNNING")
		}
	}
}
