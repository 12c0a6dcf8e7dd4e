package dev.carbonado.sdk;

import io.netty.channel.EventLoopGroup;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Runs a component in a process that the kernel has started (docs/protocol.md). */
public final class Carbonado {
  static final int MAX_MESSAGE = 16 << 20;
  /** Above a link's credit, so that flow control never holds up a frame that has credit. */
  static final int WINDOW = 16 << 20;
  static final EventLoopGroup LOOPS = Peer.loops(Math.max(2, Runtime.getRuntime().availableProcessors()));
  static final ExecutorService WORK = Executors.newCachedThreadPool(r -> {
    Thread t = new Thread(r, "work");
    t.setDaemon(true);
    return t;
  });

  private static final int EXIT_BY_HAND = 64;

  private Carbonado() {}

  /**
   * Serves the component until the kernel stops it. It doesn't return. The lifeline is standard input: Java can't take a descriptor by its number, and
   * opening /proc/self/fd/4 anew is not allowed to a user of its own; so the start script says `exec java … <&4`.
   */
  public static void main(Component component) {
    PrintStream stdout = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    String run = System.getenv("PLUGIN_UNIX_SOCKET_DIR");
    if (run == null || System.getenv("CARBONADO_COMPONENT") == null) {
      System.err.println("This is a component of Carbonado. It is started by `carbonado server`, not by hand.");
      System.exit(EXIT_BY_HAND);
    }
    List<String> spoken = Arrays.asList(String.valueOf(System.getenv("PLUGIN_PROTOCOL_VERSIONS")).split(","));
    // Version 2 is 1 with a service socket that lets other users in, by token and peer; where the peer can't be read, by token.
    int version = spoken.contains("2") ? 2 : 1;
    if (!spoken.contains(String.valueOf(version))) {
      System.err.println("This component speaks versions 1 and 2 of the component protocol; the kernel speaks " + System.getenv("PLUGIN_PROTOCOL_VERSIONS"));
      System.exit(78);
    }
    Log.takeOver();
    ignoreInterrupt();
    try {
      Lifeline line = Lifeline.watch(new FileInputStream(FileDescriptor.in), () -> Runtime.getRuntime().halt(Lifeline.EXIT));
      if (!line.known(5)) {
        throw new IOException("the lifeline names no kernel");
      }
      String path = run + "/plugin" + ProcessHandle.current().pid();
      var server = Peer.server(path, LOOPS, line::admits).maxInboundMessageSize(MAX_MESSAGE).flowControlWindow(WINDOW).executor(WORK);
      new Control(component, version > 1).services().forEach(server::addService);
      var running = server.build().start();
      stdout.print("1|" + version + "|unix|" + path + "|grpc|\n");
      stdout.flush();
      running.awaitTermination();
    } catch (Exception e) {
      Log.of("carbonado").error("the component can't serve", e);
      System.exit(1);
    }
  }

  /** ^C goes to the whole group; the kernel decides what happens then. */
  private static void ignoreInterrupt() {
    sun.misc.Signal.handle(new sun.misc.Signal("INT"), s -> {});
  }
}
