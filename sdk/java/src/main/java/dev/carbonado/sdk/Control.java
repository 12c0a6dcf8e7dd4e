package dev.carbonado.sdk;

import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.TimeUnit;

/** The component's end of the control connection: carbonado.control.v1.Component, health and go-plugin's Shutdown. */
final class Control {
  private static final String SERVICE = "carbonado.control.v1.Component";
  private static final int NEW = 0, CONFIGURED = 1, PREPARED = 2, ACQUIRED = 3, DRAINED = 4, RELEASED = 5, STOPPED = 6;

  private final Component component;
  private volatile Context context;
  private volatile ServiceSocket socket;
  private int phase = NEW; // guarded by this, as every call of the life cycle

  private final boolean otherUsers;

  /** otherUsers: components of other users may connect to the service socket. */
  Control(Component component, boolean otherUsers) {
    this.component = component;
    this.otherUsers = otherUsers;
  }

  private interface Call {
    Wire answer(Wire.Fields request) throws Exception;
  }

  private static void add(ServerServiceDefinition.Builder b, String service, String method, Call call) {
    b.addMethod(Bytes.unary(service + "/" + method), ServerCalls.asyncUnaryCall((byte[] request, StreamObserver<byte[]> out) -> {
      try {
        byte[] answer = call.answer(Wire.read(request)).done();
        out.onNext(answer);
        out.onCompleted();
      } catch (Throwable t) {
        out.onError(Problem.statusOf(t));
      }
    }));
  }

  Iterable<ServerServiceDefinition> services() {
    ServerServiceDefinition.Builder c = ServerServiceDefinition.builder(SERVICE);
    add(c, SERVICE, "Configure", this::configure);
    add(c, SERVICE, "Prepare", r -> up(CONFIGURED, PREPARED, this::prepare));
    add(c, SERVICE, "Acquire", r -> acquire());
    add(c, SERVICE, "Drain", r -> r.flag(41) ? Wire.message() : down(DRAINED, () -> {
      context.events.withdrawAll();
      component.drain(r.number(1));
    }));
    add(c, SERVICE, "Release", r -> down(RELEASED, component::release));
    add(c, SERVICE, "Stop", r -> stop());
    add(c, SERVICE, "Bind", r -> {
      configured().reference(r.string(1)).bind(r);
      return Wire.message();
    });
    add(c, SERVICE, "Suspend", r -> {
      configured().reference(r.string(1)).suspend(r.number(2));
      return Wire.message();
    });
    add(c, SERVICE, "Unbind", r -> {
      configured().reference(r.string(1)).unbind(r.number(2));
      return Wire.message();
    });
    add(c, SERVICE, "Admit", r -> {
      configured();
      socket.admit(r);
      return Wire.message();
    });
    add(c, SERVICE, "Revoke", r -> {
      configured();
      socket.revoke(r.bytes(1));
      return Wire.message();
    });
    c.addMethod(Bytes.method(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING, SERVICE + "/Watch"),
        ServerCalls.asyncServerStreamingCall((byte[] r, StreamObserver<byte[]> out) -> {
          try {
            configured().events.watch(out);
          } catch (Throwable t) {
            out.onError(Problem.statusOf(t));
          }
        }));
    ServerServiceDefinition.Builder health = ServerServiceDefinition.builder("grpc.health.v1.Health");
    add(health, "grpc.health.v1.Health", "Check", r -> Wire.message().number(1, 1)); // SERVING
    ServerServiceDefinition.Builder plugin = ServerServiceDefinition.builder("plugin.GRPCController");
    add(plugin, "plugin.GRPCController", "Shutdown", r -> {
      exit();
      return Wire.message();
    });
    return java.util.List.of(c.build(), health.build(), plugin.build());
  }

  private interface Step {
    void run() throws Exception;
  }

  /** Runs a step if it is due; a repeat does nothing. */
  private synchronized Wire up(int from, int to, Step step) throws Exception {
    if (phase >= to) {
      return Wire.message();
    }
    if (phase < from) {
      throw new Problem(Status.Code.FAILED_PRECONDITION, "CBN-SDK-005", "a life-cycle call came out of order", "The kernel calls Configure, Prepare, Acquire.");
    }
    step.run();
    phase = to;
    return Wire.message();
  }

  /** A step down may come from any phase and counts as done even if it fails. */
  private synchronized Wire down(int to, Step step) throws Exception {
    if (phase < to && phase > NEW) {
      int was = phase;
      phase = to;
      if (was >= PREPARED || to == STOPPED) {
        step.run();
      }
    }
    return Wire.message();
  }

  private Context configured() {
    Context c = context;
    if (c == null) {
      throw new Problem(Status.Code.FAILED_PRECONDITION, "CBN-SDK-005", "a call came before Configure", "The kernel calls Configure first.");
    }
    return c;
  }

  private Wire configure(Wire.Fields r) throws Exception {
    up(NEW, CONFIGURED, () -> {
      socket = new ServiceSocket(r.string(6) + "/svc.sock", otherUsers);
      context = new Context(r);
    });
    return Wire.message().string(1, socket.address()).string(2, "replay").string(2, "reacquire");
  }

  private void prepare() throws Exception {
    component.prepare(context);
    socket.start(context.services.values());
  }

  private synchronized Wire acquire() throws Exception {
    if (phase == DRAINED || phase == RELEASED) {
      phase = PREPARED; // an update failed: serve again
    }
    return up(PREPARED, ACQUIRED, () -> {
      component.acquire();
      context.provided.forEach(context::publish);
      context.consumers.publish();
      if (context.events.healthUnknown()) {
        context.health(Context.Health.OK, null);
      }
    });
  }

  private Wire stop() throws Exception {
    try {
      return down(STOPPED, () -> {
        component.stop();
        socket.stop();
        context.references.values().forEach(Reference::close);
      });
    } finally {
      exit();
    }
  }

  /** Ends the process once the answer is on its way. */
  private static void exit() {
    Carbonado.LOOPS.next().schedule(() -> Runtime.getRuntime().halt(0), 30, TimeUnit.MILLISECONDS);
  }
}
