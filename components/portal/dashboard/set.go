package dashboard

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// Set holds the deployed dashboards. It is a component.Deployer and safe for concurrent use.
type Set struct {
	// mu guards deployed.
	mu sync.RWMutex
	// deployed dashboards by the path of their file.
	deployed map[string]*Definition
}

// NewSet makes an empty set.
func NewSet() *Set { return &Set{deployed: map[string]*Definition{}} }

// Validate says what Deploy would say.
func (s *Set) Validate(_ context.Context, a *component.Artifact) error {
	def, err := Parse(a.Content)
	if err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.free(a.Path, def.ID)
}

// Deploy takes a new dashboard.
func (s *Set) Deploy(_ context.Context, a *component.Artifact) error {
	def, err := Parse(a.Content)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.free(a.Path, def.ID); err != nil {
		return err
	}
	s.deployed[a.Path] = def
	a.Offer("dashboard:" + def.ID)
	return nil
}

// Update replaces a dashboard; on an error the one before stays.
func (s *Set) Update(ctx context.Context, a *component.Artifact) error { return s.Deploy(ctx, a) }

// Undeploy removes a dashboard.
func (s *Set) Undeploy(_ context.Context, a *component.Artifact) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.deployed, a.Path)
	return nil
}

// free refuses an id that another file has. The caller holds mu.
func (s *Set) free(path, id string) error {
	for other, def := range s.deployed {
		if other != path && def.ID == id {
			return ErrDuplicate.New("%s defines the dashboard %q too", other, id)
		}
	}
	return nil
}

// mayView says whether one of the principal's roles is among the viewers. Administrators see everything.
func (d *Definition) mayView(p *commonv1.Principal) bool {
	if len(d.Permissions.Viewers) == 0 {
		return true
	}
	for _, role := range append(slices.Clone(d.Permissions.Viewers), "admin") {
		if role == "Internal/everyone" {
			role = "everyone"
		}
		if slices.Contains(p.GetRoles(), role) {
			return true
		}
	}
	return false
}

// summary is a dashboard in the list.
type summary struct {
	ID          string `json:"id"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

// Handler serves GET prefix (the list) and GET prefix/{id}. fail answers errors.
func (s *Set) Handler(prefix string, fail func(http.ResponseWriter, error)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+prefix, func(w http.ResponseWriter, r *http.Request) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		list := []summary{}
		for _, def := range s.deployed {
			if def.mayView(component.PrincipalFrom(r.Context())) {
				list = append(list, summary{def.ID, def.Title, def.Description})
			}
		}
		slices.SortFunc(list, func(a, b summary) int { return cmp.Or(cmp.Compare(a.Title, b.Title), cmp.Compare(a.ID, b.ID)) })
		answer(w, list)
	})
	mux.HandleFunc("GET "+prefix+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		def, err := s.find(r.PathValue("id"), component.PrincipalFrom(r.Context()))
		if err != nil {
			fail(w, err)
			return
		}
		answer(w, def)
	})
	return mux
}

func (s *Set) find(id string, p *commonv1.Principal) (*Definition, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, def := range s.deployed {
		if def.ID != id {
			continue
		}
		if !def.mayView(p) {
			return nil, ErrNotViewer.New("the dashboard %q is not for user %s", id, p.GetUser())
		}
		return def, nil
	}
	return nil, ErrNoDashboard.New("dashboard %q", id)
}

func answer(w http.ResponseWriter, body any) {
	raw, err := json.Marshal(body)
	if err != nil { // cannot be: the types are plain
		http.Error(w, cause.From(err).Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(raw) // fails only if the reader has gone
}
