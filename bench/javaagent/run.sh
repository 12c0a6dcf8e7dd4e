#!/usr/bin/env bash
# WSO2's own Java data agent against a whole server. Needs a JDK and Maven; the agent comes from Maven Central. Where something is not
# to be had it says so and ends with 0: the line then has no ratio.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$PWD/build/bench/javaagent
lib=$out/lib
if [ ! -f "$out/ready" ]; then
  for tool in java javac keytool mvn; do
    command -v $tool >/dev/null || { echo "javaagent: no ratio: $tool is missing (a JDK and Maven are needed)"; exit 0; }
  done
  mkdir -p "$lib" "$out/classes"
  echo "fetching WSO2's data agent 5.1.3" >&2
  if ! mvn -q -B -f bench/javaagent/pom.xml dependency:copy-dependencies -DoutputDirectory="$lib" >"$out/mvn.log" 2>&1; then
    echo "javaagent: no ratio: its libraries can't be fetched (build/bench/javaagent/mvn.log)"; exit 0
  fi
  for a in agent commons commons.thrift; do
    mvn -q -B dependency:copy -Dartifact=org.wso2.carbon.analytics-common:org.wso2.carbon.databridge.$a:5.1.3 -DoutputDirectory="$lib" >>"$out/mvn.log" 2>&1 ||
      { echo "javaagent: no ratio: the agent can't be fetched (build/bench/javaagent/mvn.log)"; exit 0; }
  done
  javac -d "$out/classes" -cp "$lib/*" bench/javaagent/src/Publish.java bench/javaagent/src/org/wso2/carbon/utils/CarbonUtils.java
  touch "$out/ready"
fi
go build -o build/bench/javaagentbench ./bench/javaagent
exec build/bench/javaagentbench -java "$out" "$@"
