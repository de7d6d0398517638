package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ruche-project/ruche/internal/cluster"
	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/mesh"
)

// What the Swarm keeps for the services of the stack file.
const (
	secretSeal    = "ruche-seal"    // what mesh.ReadSeal reads
	secretJoin    = "ruche-join-"   // with a role behind it, the token for nodes of that role
	volumeControl = "ruche-control" // the state of a control node
)

// secretNames are all secrets, in the order in which they are made.
func secretNames() []string {
	return []string{secretSeal, secretJoin + string(mesh.RoleControl), secretJoin + string(mesh.RoleEdge), secretJoin + string(mesh.RoleAgent)}
}

// Name is how the stack is called.
const Name = "ruche"

// defaultNetwork is the network that published services join unless somebody wants another.
const defaultNetwork = "public"

// Options say what an installation is like.
type Options struct {
	// Image is what the services run; empty is the image of the stack that runs already, else ruche.
	Image string
	// Network is the one that published services join; empty is that of the edges that run already, else public.
	Network string
	// DataDir is where "ruche up" on this host has its state, if it ran here.
	DataDir string
	// SealKeyFile has the sealing key to begin with; where it is empty one is made, which then only the Swarm has.
	SealKeyFile string
	// Control are the addresses of the control nodes; none are those that edges were told so far, and those of the Swarm's managers.
	Control []string
	// ACMEEmail is the address of the account by which all published names get certificates; empty is what the control nodes were told so far.
	ACMEEmail string
}

// Init makes what the installation begins with, and gives its stack file. What is there stays; say tells of each thing whether it was made.
func Init(ctx context.Context, engine *docker.Client, o Options, say func(string)) (file string, err error) {
	i := &initiation{engine: engine, o: o, say: say}
	if err := i.look(ctx); err != nil {
		return "", err
	}
	values := map[string]string{"RUCHE_IMAGE": i.image, "RUCHE_NETWORK": i.network, envControl: strings.Join(i.control, ",")}
	if i.email != "" {
		values[envEmail] = i.email
	}
	if file, err = render(values); err != nil { // before anything is made
		return "", err
	}
	for _, step := range []func(context.Context) error{i.makeNetwork, i.makeState, i.nameFounder} {
		if err := step(ctx); err != nil {
			return "", err
		}
	}
	return file, nil
}

// initiation is one run of Init.
type initiation struct {
	engine *docker.Client
	o      Options
	say    func(string)

	node    string // the ID of this Engine's node in the Swarm
	control []string
	image   string
	network string
	email   string
}

// told says of a thing whether it was made, and passes on what else went wrong.
func (i *initiation) told(what string, err error) error {
	switch {
	case err == nil:
		i.say(what + " is made")
	case errors.Is(err, docker.ErrExists):
		i.say(what + " is there already")
		return nil
	}
	return err
}

func (i *initiation) makeNetwork(ctx context.Context) error {
	what := "network " + i.network
	if err := i.told(what, i.engine.CreateOverlay(ctx, i.network)); err != nil {
		return err
	}
	list, err := i.engine.Networks(ctx)
	if err != nil {
		return err
	}
	for _, n := range list {
		if n.Name == i.network && n.Driver != "overlay" && n.Driver != "" { // a manager tells no driver of one that was made just now
			return hinted{fmt.Errorf("cannot use %s: its driver is %s, and services of a Swarm need overlay", what, n.Driver), "choose another name with --network"}
		}
	}
	return nil
}

// makeState makes the secrets, and last the config, which tells that they are whole.
func (i *initiation) makeState(ctx context.Context) error {
	key, seal, err := i.sealingKey() // before anything is removed
	if err != nil {
		return err
	}
	there, err := i.engine.Secrets(ctx)
	if err != nil {
		return err
	}
	switch _, err := i.engine.SwarmConfig(ctx, mesh.SeedConfig); {
	case err == nil:
		return i.checkSecrets(there)
	case !errors.Is(err, docker.ErrNotFound):
		return err
	}
	for _, name := range secretNames() {
		if !slices.Contains(there, name) {
			continue
		}
		err := i.engine.RemoveSecret(ctx, name)
		if errors.Is(err, docker.ErrInUse) {
			return hinted{fmt.Errorf("cannot begin anew: config %s is not there, so secret %s must be made anew, but %w", mesh.SeedConfig, name, err),
				`if the services that use it are of an installation that shall end, remove them: docker stack ls, docker stack rm NAME`}
		}
		if err != nil {
			return err
		}
		i.say("secret " + name + " was left by an init that did not end, and is made anew")
	}
	seed, tokens, err := mesh.NewSeed(seal, time.Now())
	if err != nil {
		return err
	}
	data, err := json.Marshal(seed)
	if err != nil {
		return fmt.Errorf("cannot write what the installation begins with: %w", err)
	}
	for _, name := range secretNames() {
		content := key
		if role, ok := strings.CutPrefix(name, secretJoin); ok {
			content = tokens[mesh.Role(role)]
		}
		if err := i.engine.CreateSecret(ctx, name, []byte(content)); err != nil {
			return err // also when somebody makes one at the same time: only one of the two can go on
		}
		i.say("secret " + name + " is made")
	}
	if err := i.engine.CreateSwarmConfig(ctx, mesh.SeedConfig, nil, data); err != nil {
		return err
	}
	i.say("config " + mesh.SeedConfig + " is made")
	if i.o.SealKeyFile == "" {
		i.say("warning: the sealing key is in the Swarm alone: no Engine gives it back, and without it no backup of the state can be opened. " +
			"To have a copy, begin with a key of your own before the stack is deployed: docker config rm " + mesh.SeedConfig + ", and this again with --seal-key-file")
	}
	return nil
}

// sealingKey gives the sealing key as the secret holds it.
func (i *initiation) sealingKey() (text string, seal *mesh.Seal, err error) {
	if i.o.SealKeyFile == "" {
		return mesh.NewSeal()
	}
	if seal, err = mesh.ReadSeal(i.o.SealKeyFile); err != nil {
		return "", nil, err
	}
	data, err := os.ReadFile(i.o.SealKeyFile)
	return string(data), seal, err
}

// checkSecrets looks whether what belongs to the config is there.
func (i *initiation) checkSecrets(there []string) error {
	for _, name := range secretNames() {
		if !slices.Contains(there, name) {
			hint := "bring it back from a copy: docker secret create ruche-seal FILE; without it the state cannot be opened"
			if role, ok := strings.CutPrefix(name, secretJoin); ok {
				hint = fmt.Sprintf("on a control node: ruche nodes token --role %s | docker secret create %s -", role, name)
			}
			return hinted{fmt.Errorf("cannot go on: config %s is there, but secret %s is not", mesh.SeedConfig, name), hint}
		}
		i.say("secret " + name + " is there already")
	}
	i.say("config " + mesh.SeedConfig + " is there already")
	return nil
}

// nameFounder makes the control node of this host go on with the state of a "ruche up" that ran here: it founds the state, and finds it in its volume.
func (i *initiation) nameFounder(ctx context.Context) error {
	cfg, err := i.engine.SwarmConfig(ctx, mesh.SeedConfig)
	if err != nil {
		return err
	}
	there := cluster.HasData(filepath.Join(i.o.DataDir, "cluster"))
	switch founder := cfg.Labels[mesh.SeedFounder]; {
	case founder == "" && !there:
		i.say(fmt.Sprintf("the installation begins empty, since there is no state in %s: if a \"ruche up\" ran here, give its directory with --data-dir before the stack is deployed "+
			"(in a container mount it at the same path)", i.o.DataDir))
		return nil
	case founder == "":
	case founder == i.node || !there:
		return nil
	default:
		i.say(fmt.Sprintf("warning: another node has founded the state: what is in %s stays out of it", i.o.DataDir))
		return nil
	}
	labels := maps.Clone(cfg.Labels)
	if labels == nil {
		labels = make(map[string]string)
	}
	labels[mesh.SeedFounder] = i.node
	if err := i.bind(ctx); err != nil {
		return err
	}
	if err := i.engine.LabelSwarmConfig(ctx, cfg, labels); err != nil {
		return err
	}
	i.say(fmt.Sprintf("the control node of this host goes on with the state in %s", i.o.DataDir))
	i.say("before the stack is deployed, stop the Ruche that runs on it, such as with: systemctl disable --now ruche")
	return nil
}

// bind makes the volume of this host's control node out of the directory.
func (i *initiation) bind(ctx context.Context) error {
	dir, err := filepath.Abs(i.o.DataDir)
	if err == nil {
		err = i.engine.BindVolume(ctx, volumeControl, dir)
	}
	if errors.Is(err, docker.ErrExists) {
		return hinted{fmt.Errorf("cannot let the control node of this host go on with the state in %s: %w", i.o.DataDir, err),
			fmt.Sprintf("if nothing in the volume is needed: docker volume rm %s", volumeControl)}
	}
	return err
}
