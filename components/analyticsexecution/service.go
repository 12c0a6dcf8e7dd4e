package analyticsexecution

import (
	"context"
	"sort"
	"time"

	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/components/analyticsexecution/quartz"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// deployer takes scripts' files.
type deployer struct{ s *Service }

// Validate reads a file and lets the engine check its script. Without an engine the script is taken; its runs say why they fail.
func (d deployer) Validate(ctx context.Context, a *component.Artifact) error {
	_, err := d.s.read(ctx, a)
	return err
}

func (d deployer) Deploy(ctx context.Context, a *component.Artifact) error {
	def, err := d.s.read(ctx, a)
	if err != nil {
		return err
	}
	d.s.add(def)
	a.Offer("sparkscript:" + def.name)
	return nil
}

// Update takes the new text for the next run; the present run goes on with the old one.
func (d deployer) Update(ctx context.Context, a *component.Artifact) error { return d.Deploy(ctx, a) }

// Undeploy forgets the script and cancels its run.
func (d deployer) Undeploy(_ context.Context, a *component.Artifact) error {
	d.s.remove(a.Path)
	return nil
}

func (s *Service) read(ctx context.Context, a *component.Artifact) (*definition, error) {
	if a.Tenant != 0 && a.Tenant != s.tenantID {
		return nil, ErrTenant.New("tenant %d", a.Tenant)
	}
	def, err := readFile(a.Name, a.Path, a.Content)
	if err != nil {
		return nil, err
	}
	return def, s.check(ctx, def)
}

// check asks the engine, if there is one, whether it would refuse the script.
func (s *Service) check(ctx context.Context, d *definition) error {
	if s.runner.ready() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.runner.engine.Check(ctx, &analyticsv1.CheckRequest{Script: d.text})
	if err != nil {
		// An engine that is restarting is no fault of the script.
		s.log.Warn("a script was deployed unchecked", "script", d.name, "error", err)
		return nil
	}
	for _, c := range resp.Causes {
		return d.place(cause.FromProto(c, codes.InvalidArgument))
	}
	return nil
}

func (s *Service) tenant(t int32) error {
	if t != s.tenantID {
		return ErrTenant.New("tenant %d", t)
	}
	return nil
}

// describe makes a script's message. The caller holds mu.
func (s *Service) describe(sc *script) *analyticsv1.Script {
	m := &analyticsv1.Script{Name: sc.def.name, Script: sc.def.text, Cron: sc.def.cron, Editable: sc.def.editable, Running: sc.cancel != nil}
	if !sc.next.IsZero() {
		m.NextUnixMs = sc.next.UnixMilli()
	}
	if s.hist != nil {
		m.Last = s.hist.last(sc.def.name)
	}
	return m
}

// List gives all scripts by name.
func (s *Service) List(_ context.Context, req *analyticsv1.ListScriptsRequest) (*analyticsv1.ListScriptsResponse, error) {
	if err := s.tenant(req.Tenant); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &analyticsv1.ListScriptsResponse{}
	for _, sc := range s.scripts {
		resp.Scripts = append(resp.Scripts, s.describe(sc))
	}
	sort.Slice(resp.Scripts, func(i, j int) bool { return resp.Scripts[i].Name < resp.Scripts[j].Name })
	return resp, nil
}

// find gives a script by name. The caller holds mu.
func (s *Service) find(name string) (*script, error) {
	if sc := s.scripts[name]; sc != nil {
		return sc, nil
	}
	return nil, ErrNoScript.New("script %q", name)
}

// Get gives one script.
func (s *Service) Get(_ context.Context, req *analyticsv1.GetScriptRequest) (*analyticsv1.GetScriptResponse, error) {
	if err := s.tenant(req.Tenant); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, err := s.find(req.Name)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.GetScriptResponse{Script: s.describe(sc)}, nil
}

// editable refuses a script that its file protects, and gives its present cron expression.
func (s *Service) editable(name string) (cron string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.scripts[name]
	if sc == nil {
		return "", nil
	}
	if !sc.def.editable {
		return "", ErrNotEditable.New("script %s", name)
	}
	return sc.def.cron, nil
}

// Save checks a script and writes its file; the kernel hands the file back for deployment before it answers.
func (s *Service) Save(ctx context.Context, req *analyticsv1.SaveScriptRequest) (*analyticsv1.SaveScriptResponse, error) {
	if err := s.tenant(req.Tenant); err != nil {
		return nil, err
	}
	sc := req.GetScript()
	if err := checkName(sc.GetName()); err != nil {
		return nil, err
	}
	cron, err := s.editable(sc.Name)
	if err != nil {
		return nil, err
	}
	if sc.Cron != keepCron {
		cron = sc.Cron
	}
	if cron != "" {
		if _, err := quartz.Parse(cron); err != nil {
			return nil, err
		}
	}
	content := writeFile(sc.Name, sc.Script, cron)
	if _, err := readFile(sc.Name, "", content); err != nil {
		return nil, err
	}
	// Places are those of the text as it came.
	if err := s.check(ctx, &definition{name: sc.Name, text: sc.Script, line: 1, column: 1}); err != nil {
		return nil, err
	}
	resp, err := s.artifacts.Put(ctx, &kernelv1.PutArtifactRequest{Type: "sparkscript", Name: sc.Name, Content: content})
	if err != nil {
		return nil, err
	}
	if c := resp.GetArtifact().GetCause(); c != nil {
		return nil, cause.FromProto(c, codes.InvalidArgument)
	}
	return &analyticsv1.SaveScriptResponse{}, nil
}

// Delete removes a script's file. One that doesn't exist is no error.
func (s *Service) Delete(ctx context.Context, req *analyticsv1.DeleteScriptRequest) (*analyticsv1.DeleteScriptResponse, error) {
	if err := s.tenant(req.Tenant); err != nil {
		return nil, err
	}
	if err := checkName(req.Name); err != nil {
		return nil, err
	}
	if _, err := s.editable(req.Name); err != nil {
		return nil, err
	}
	if _, err := s.artifacts.Remove(ctx, &kernelv1.RemoveArtifactRequest{Type: "sparkscript", Name: req.Name}); err != nil {
		return nil, err
	}
	return &analyticsv1.DeleteScriptResponse{}, nil
}

// Run starts a script and waits for its end. Ending the call doesn't end the run; Cancel does.
func (s *Service) Run(ctx context.Context, req *analyticsv1.RunScriptRequest) (*analyticsv1.RunScriptResponse, error) {
	if err := s.tenant(req.Tenant); err != nil {
		return nil, err
	}
	h, err := s.runNow(req.Name, req.RequestedBy)
	if err != nil {
		return nil, err
	}
	select {
	case <-h.done:
		return &analyticsv1.RunScriptResponse{Run: h.run}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Service) runNow(name, by string) (*handle, error) {
	if by == "" || by == "schedule" {
		by = "unknown"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return s.begin(sc, by, time.Time{})
}

// History gives runs, newest first.
func (s *Service) History(_ context.Context, req *analyticsv1.ScriptHistoryRequest) (*analyticsv1.ScriptHistoryResponse, error) {
	if err := s.tenant(req.Tenant); err != nil {
		return nil, err
	}
	if s.hist == nil {
		return nil, ErrStopping.New("the history is not open")
	}
	runs := s.hist.list(req.Name, int(req.Limit))
	if req.Name != "" && len(runs) == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, err := s.find(req.Name); err != nil {
			return nil, err
		}
	}
	return &analyticsv1.ScriptHistoryResponse{Runs: runs}, nil
}

// Cancel ends the present run of a script; without one it says so.
func (s *Service) Cancel(_ context.Context, req *analyticsv1.CancelScriptRequest) (*analyticsv1.CancelScriptResponse, error) {
	if err := s.tenant(req.Tenant); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, err := s.find(req.Name)
	if err != nil {
		return nil, err
	}
	if sc.cancel == nil {
		return &analyticsv1.CancelScriptResponse{}, nil
	}
	sc.cancel(ErrCancelled.New("script %s was cancelled", req.Name))
	return &analyticsv1.CancelScriptResponse{Cancelled: true}, nil
}
