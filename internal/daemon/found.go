package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/api"
	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/fsx"
	"github.com/ruche-project/ruche/internal/mesh"
)

// seedRecord is the config of the Swarm that "ruche stack init" makes. Its content is what the installation begins with; its label says who has begun the
// state, and only one manager can set it.
type seedRecord struct {
	docker.SwarmConfig
	mesh.Seed
}

// founder is the ID of the Swarm node that has begun the state, or is to; empty while nobody has.
func (s seedRecord) founder() string { return s.Labels[mesh.SeedFounder] }

// readSeed reads the record; nil where there is none, or no Swarm.
func (e *entrance) readSeed(ctx context.Context, client *docker.Client) (*seedRecord, error) {
	c, err := client.SwarmConfig(ctx, mesh.SeedConfig)
	if errors.Is(err, docker.ErrNotFound) {
		return nil, nil //nolint:nilnil // not every installation has one
	}
	s := &seedRecord{SwarmConfig: c}
	if err == nil {
		err = json.Unmarshal(c.Data, &s.Seed)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read how the installation began: %w", err)
	}
	return s, nil
}

// mayFound reports whether this node, which has no state, is to begin one. Of the managers of a Swarm one does, once.
func (e *entrance) mayFound(ctx context.Context) (bool, error) {
	if e.site.swarm != "" {
		client, err := docker.Open(e.cfg.DockerHost)
		if err != nil {
			return false, err
		}
		defer func() { _ = client.Close() }()
		for {
			seed, err := e.readSeed(ctx, client)
			if err != nil {
				return false, err
			}
			if seed == nil {
				break
			}
			e.seed = seed
			found, err := e.claim(ctx, client, seed)
			if !errors.Is(err, docker.ErrConflict) { // else another one was faster
				return found, err
			}
		}
	}
	wasMember := cluster.WasSetAside(stateDir(e.cfg.DataDir)) || mesh.FilesOfMember(meshDir(e.cfg)).There()
	if e.cfg.Bootstrap && !wasMember { // else the flag was left from the first time
		return true, nil
	}
	if _, err := os.Stat(e.cfg.JoinTokenFile); err == nil {
		return false, nil
	}
	return false, fmt.Errorf("cannot start a control node: %s holds no state (in a Swarm, \"ruche stack init\" begins an installation; elsewhere give --bootstrap if there never was a state, "+
		"or there is to be another one: then move all of --data-dir away; bring it back with \"ruche state restore\", or name the file of a join token with --join-token-file, so that it joins other control nodes)", stateDir(e.cfg.DataDir))
}

// foundingFile tells, in the directory of the state, that this node has set out to begin one. It goes with that directory: who has lost it must not begin anew.
const foundingFile = "founding"

// claim makes this node the one that begins the state, if none has. A node that was cut off while it did goes on.
func (e *entrance) claim(ctx context.Context, client *docker.Client, seed *seedRecord) (bool, error) {
	dir := stateDir(e.cfg.DataDir)
	mark := filepath.Join(dir, foundingFile)
	switch seed.founder() {
	case "":
	case e.site.swarm:
		if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
			return err == nil, err
		}
		e.logger.Warn("the state that this node has begun is not there any more: it joins the other control nodes", "directory", dir)
		return false, nil
	default:
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	if err := fsx.WriteFile(mark, nil, 0o600); err != nil {
		return false, fmt.Errorf("cannot begin a state: %w", err)
	}
	// The mark stays where that fails: it may be done all the same, and for another founder it means nothing.
	if err := seed.claim(ctx, client, e.site.swarm); err != nil {
		return false, err
	}
	e.logger.Info("this node begins the state of the installation")
	return true, nil
}

// claim sets the label. The error is docker.ErrConflict where somebody else was faster.
func (s seedRecord) claim(ctx context.Context, client *docker.Client, swarm string) error {
	labels := maps.Clone(s.Labels)
	if labels == nil {
		labels = make(map[string]string)
	}
	labels[mesh.SeedFounder] = swarm
	return client.LabelSwarmConfig(ctx, s.SwarmConfig, labels)
}

// plant brings the authority of the installation into the state of this node. A state that is another installation's, from a backup or from before
// "ruche stack init", becomes this one's if nobody else has begun it.
func (e *entrance) plant(ctx context.Context, c *cluster.Cluster) error {
	if e.site.swarm == "" {
		return nil
	}
	client, err := docker.Open(e.cfg.DockerHost)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	authority, tokens := cluster.NewBucket[mesh.AuthorityRecord](c, "authority"), cluster.NewBucket[mesh.Token](c, "tokens")
	begun, err := authority.List(ctx)
	if err != nil {
		return err
	}
	seed, err := e.readSeed(ctx, client)
	switch {
	case err != nil && len(begun) > 0: // the Engine does not answer, and nothing is to be written
		e.logger.Warn(err.Error())
		return nil
	case err != nil || seed == nil:
		return err
	case sameRoot(seed, begun):
		return removeMark(e.cfg.DataDir)
	case seed.founder() != "" && seed.founder() != e.site.swarm:
		return fmt.Errorf("cannot use the state in %s: it is not this installation's, which another node has begun (move the directory away, so that this node joins)", stateDir(e.cfg.DataDir))
	case seed.founder() == "":
		err = seed.claim(ctx, client, e.site.swarm)
	}
	if err == nil && len(begun) > 0 {
		e.logger.Warn("the state here is of another installation, and becomes this one's: nodes join it anew")
		err = forgetInstallation(ctx, c)
	}
	if err == nil {
		err = seed.Plant(ctx, authority, tokens)
	}
	if err == nil {
		err = removeMark(e.cfg.DataDir)
	}
	return err
}

// sameRoot reports whether the authority of a state is the one of the seed.
func sameRoot(seed *seedRecord, begun map[string]ruche.Entry[mesh.AuthorityRecord]) bool {
	ours, err := seed.Root()
	if err != nil {
		return false
	}
	for _, e := range begun {
		if root, err := e.Value.Root(); err == nil && root == ours {
			return true
		}
	}
	return false
}

// forgetInstallation drops who belonged to the installation of a state, its authority last: without that, planting goes on where this was cut off.
func forgetInstallation(ctx context.Context, c *cluster.Cluster) error {
	for _, name := range []string{"candidates", "nodestatus", "nodes", "tokens", "authority"} {
		bucket := cluster.NewBucket[json.RawMessage](c, name)
		all, err := bucket.List(ctx)
		if err != nil {
			return err
		}
		for key := range all {
			if err := bucket.Delete(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeMark ends what claim began.
func removeMark(dataDir string) error {
	err := os.Remove(filepath.Join(stateDir(dataDir), foundingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// awaitOthers says what a node waits for that is to join others.
func (e *entrance) awaitOthers() {
	w := api.Wait{For: "a control node that lets this one in", Hint: "the other control nodes must be up, and the join token theirs; the log says what they answer"}
	if e.seed != nil && e.seed.founder() == e.site.swarm {
		w.Hint = "this node has begun the installation, and its state is gone. If another control node has it, start that one; else bring a backup back (ruche state restore); " +
			"to begin with an empty state, remove the stack and its config (docker config rm " + mesh.SeedConfig + "), then run ruche stack init"
	}
	e.await(w)
}
