package analyticsengine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// openTransactions are the store's transactions that this component has open, each an empty file with the transaction's id as its name.
// A process that is killed leaves its files, and the next one ends those transactions: the store would keep what they staged, and the
// numbers they reserved, until its own restart. Nothing is synced: where the machine goes down the store starts anew too.
type openTransactions struct{ folder string }

func (o openTransactions) add(id string) error {
	if id != filepath.Base(id) || !filepath.IsLocal(id) {
		return ErrStaging.New("the store names a transaction %q", id)
	}
	f, err := os.OpenFile(filepath.Join(o.folder, id), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return ErrStaging.Wrap(err, "a transaction can't be noted")
	}
	return f.Close()
}

func (o openTransactions) remove(id string) error {
	if err := os.Remove(filepath.Join(o.folder, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Acquire ends the transactions that an earlier process left open; that one is gone, or has ended all of its statements.
func (e *Engine) Acquire(ctx context.Context) error {
	left, err := os.ReadDir(e.open.folder)
	if err != nil {
		return ErrStaging.Wrap(err, "folder of open transactions")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, f := range left {
		_, err := e.store.Abort(ctx, &analyticsv1.AbortRequest{Transaction: f.Name()})
		if err == nil {
			err = e.open.remove(f.Name())
		}
		if err != nil {
			// It is tried again at the next start.
			e.c.Log().Warn("a transaction of an earlier process was not aborted", "transaction", f.Name(), "error", err)
		}
	}
	return nil
}
