package conform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// watcher keeps what a component reports.
type watcher struct {
	s      *suite
	p      *process
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex // guards what follows
	synced  bool
	live    map[uint64]*controlv1.ServicePublished
	health  *controlv1.HealthChanged
	err     error
	changed chan struct{}
}

func (w *watcher) open(ctx context.Context) (string, error) {
	ctx, w.cancel = context.WithCancel(ctx)
	w.done, w.changed, w.live = make(chan struct{}), make(chan struct{}), map[uint64]*controlv1.ServicePublished{}
	stream, err := w.p.control.Watch(ctx, &controlv1.WatchRequest{})
	if err != nil {
		w.cancel()
		return "", err
	}
	go func() {
		defer close(w.done)
		for {
			e, err := stream.Recv()
			w.take(e, err)
			if err != nil {
				return
			}
		}
	}()
	if err := w.until(ctx, func() error {
		if !w.synced {
			return errors.New("Watch sends no Synced")
		}
		return nil
	}); err != nil {
		w.close()
		return "", err
	}
	return "the present state, then Synced", nil
}

func (w *watcher) close() {
	w.cancel()
	<-w.done
}

func (w *watcher) take(e *controlv1.ComponentEvent, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.err = err
	}
	switch x := e.GetEvent().(type) {
	case *controlv1.ComponentEvent_Published:
		w.live[x.Published.LocalId] = x.Published
	case *controlv1.ComponentEvent_Withdrawn:
		delete(w.live, x.Withdrawn.LocalId)
	case *controlv1.ComponentEvent_Health:
		w.health = x.Health
	case *controlv1.ComponentEvent_Synced:
		w.synced = true
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// until waits until ok answers nil; it is called with the lock held.
func (w *watcher) until(ctx context.Context, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, min(w.s.Patience, 5*time.Second))
	defer cancel()
	for {
		w.mu.Lock()
		err, changed, broken := ok(), w.changed, w.err
		w.mu.Unlock()
		switch {
		case err == nil:
			return nil
		case broken != nil:
			return fmt.Errorf("%w; Watch ended: %w", err, broken)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}

func (w *watcher) published() []*controlv1.ServicePublished {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*controlv1.ServicePublished
	for _, p := range w.live {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *controlv1.ServicePublished) int { return int(a.LocalId) - int(b.LocalId) })
	return out
}

// complete waits until every service that component.yaml provides is published, and nothing else is.
func (w *watcher) complete(ctx context.Context) (string, error) {
	err := w.until(ctx, func() error {
		for _, want := range w.s.descriptor.Provides {
			found := want.Dynamic
			for _, have := range w.live {
				found = found || have.Service == want.Service
			}
			if !found {
				return fmt.Errorf("%s, which component.yaml provides, is not published after Acquire", want.Service)
			}
		}
		for id, have := range w.live {
			if id == 0 {
				return fmt.Errorf("%s is published under local_id 0", have.Service)
			}
			found := false
			for _, want := range w.s.descriptor.Provides {
				found = found || have.Service == want.Service
			}
			if !found {
				return fmt.Errorf("%s is published, and component.yaml does not provide it", have.Service)
			}
		}
		return nil
	})
	return fmt.Sprintf("%d registrations", len(w.published())), err
}

func (w *watcher) withdrawn(ctx context.Context) error {
	return w.until(ctx, func() error {
		for _, have := range w.live {
			return fmt.Errorf("%s is still published after Drain", have.Service)
		}
		return nil
	})
}

func (w *watcher) healthy(ctx context.Context) (string, error) {
	var text string
	err := w.until(ctx, func() error {
		switch w.health.GetHealth() {
		case controlv1.Health_HEALTH_UNSPECIFIED, controlv1.Health_HEALTH_UNKNOWN:
			return errors.New("after Acquire it reports no health")
		}
		text = w.health.Health.String()
		if c := w.health.Cause; c != nil {
			text += ": " + c.Text
		}
		return nil
	})
	return text, err
}
