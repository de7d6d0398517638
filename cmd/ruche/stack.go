package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ruche-project/ruche/internal/docker"
	"github.com/ruche-project/ruche/internal/stack"
)

func newStack() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stack",
		Short: "Run Ruche as a stack of a Docker Swarm: begin one, deploy it, upgrade it",
		Long: `Run Ruche as a stack of a Docker Swarm, on a manager of it. docs/swarm.md tells more.

  ruche stack init              make what the installation begins with, and print its stack file
  ruche stack deploy            do that, and deploy the file
  ruche stack upgrade IMAGE     bring a new version to one node after the other`,
		Args: noSuchVerb,
		RunE: showHelp,
	}
	cmd.AddCommand(newStackInit(), newStackDeploy(), newStackUpgrade())
	return cmd
}

func newStackInit() *cobra.Command {
	var v stackVerb
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the network, the secrets and the config of an installation, and print its stack file",
		Long: `Make the network, the secrets and the config of an installation, and print its stack file. What is there stays.

  ruche stack init > stack.yml && docker stack deploy --compose-file stack.yml ruche`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return v.with(func(engine *docker.Client) error {
				file, err := stack.Init(cmd.Context(), engine, v.options, v.say(cmd))
				if err == nil {
					_, err = fmt.Fprint(cmd.OutOrStdout(), file)
				}
				return err
			})
		},
	}
	v.addFlags(cmd)
	return cmd
}

func newStackDeploy() *cobra.Command {
	var v stackVerb
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: `Do what "ruche stack init" does, and deploy the stack file with the docker command`,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := exec.LookPath("docker")
			if err != nil {
				return hintError{errors.New("cannot deploy the stack: there is no docker command here"),
					"ruche stack init > stack.yml, and where there is one: docker stack deploy --with-registry-auth --compose-file stack.yml " + stack.Name}
			}
			return v.with(func(engine *docker.Client) error {
				file, err := stack.Init(cmd.Context(), engine, v.options, v.say(cmd))
				if err == nil {
					err = deployStack(cmd, path, engine.Host(), file)
				}
				return err
			})
		},
	}
	v.addFlags(cmd)
	return cmd
}

// deployStack gives the stack file to the docker command.
func deployStack(cmd *cobra.Command, path, host, file string) error {
	deploy := exec.CommandContext(cmd.Context(), path, "stack", "deploy", "--with-registry-auth", "--compose-file", "-", stack.Name)
	deploy.Env = append(os.Environ(), "DOCKER_HOST="+host)
	deploy.Stdin, deploy.Stdout, deploy.Stderr = strings.NewReader(file), cmd.OutOrStdout(), cmd.ErrOrStderr()
	if err := deploy.Run(); err != nil {
		return hintError{fmt.Errorf("cannot deploy the stack: docker stack deploy: %w", err), "what it says is above; what was made for the stack stays, and this can be run again"}
	}
	return nil
}

func newStackUpgrade() *cobra.Command {
	var v stackVerb
	var name string
	cmd := &cobra.Command{
		Use:   "upgrade IMAGE",
		Short: "Bring another image to the stack, one node after the other",
		Long: `Bring another image to the stack, one node after the other: first to the control nodes, then to the agents, then to the edges. When it is interrupted, the Swarm
goes on with the service that it was at; the same command goes on with the rest.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return hintError{fmt.Errorf("%s takes one image, %d were given", cmd.CommandPath(), len(args)), "ruche stack upgrade registry.example/ruche:2"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.with(func(engine *docker.Client) error {
				return stack.Upgrade(cmd.Context(), engine, name, args[0], v.say(cmd))
			})
		},
	}
	v.addDockerHost(cmd)
	cmd.Flags().StringVar(&name, "stack", stack.Name, "the name of the stack, as docker stack ls has it")
	return cmd
}

// stackVerb is what the verbs of the stack have in common.
type stackVerb struct {
	dockerHost string
	options    stack.Options
}

func (v *stackVerb) addDockerHost(cmd *cobra.Command) {
	cmd.Flags().StringVar(&v.dockerHost, "docker-host", os.Getenv("RUCHE_DOCKER_HOST"), "the Docker Engine of a manager, as unix:///path or tcp://host:port (RUCHE_DOCKER_HOST)")
}

func (v *stackVerb) addFlags(cmd *cobra.Command) {
	v.addDockerHost(cmd)
	cmd.Flags().StringVar(&v.options.Image, "image", "", "the image of Ruche; by default what the stack runs, else ruche")
	cmd.Flags().StringVar(&v.options.Network, "network", "", "the network that published services join; by default that of the edges that run, else public")
	cmd.Flags().StringVar(&v.options.DataDir, "data-dir", "/var/lib/ruche", `where a "ruche up" on this host has its state, which then goes on as the installation's`)
	cmd.Flags().StringVar(&v.options.SealKeyFile, "seal-key-file", "", `a file with the sealing key to begin with ("openssl rand -base64 32" makes one); without it the only copy is the Swarm's`)
	cmd.Flags().StringVar(&v.options.ACMEEmail, "acme-email", "", "the e-mail address of the account at the CA; with it each published name gets a certificate of Let's Encrypt, whose terms you agree to; by default what the control nodes were told so far")
	cmd.Flags().StringSliceVar(&v.options.Control, "control", nil, "the addresses at which edges find control nodes; by default those that edges were told so far, and the managers")
}

// say writes what is done where it is not taken for the stack file.
func (v *stackVerb) say(cmd *cobra.Command) func(string) {
	return func(line string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), line) }
}

// with calls do with the Engine.
func (v *stackVerb) with(do func(*docker.Client) error) error {
	engine, err := docker.Open(v.dockerHost)
	if err != nil {
		return err
	}
	defer func() { _ = engine.Close() }()
	err = do(engine)
	if hint := docker.Hint(err); hint != "" && !errors.Is(err, context.Canceled) {
		return hintError{err, hint}
	}
	return err
}
