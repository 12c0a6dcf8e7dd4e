#!/bin/sh
# Makes a Python client of the databridge protocol in the folder that is named: code by Debian's thrift-compiler, Thrift's library from
# the Python package index in a virtual environment. Ends with 1 and says why where one of both is not to be had.
set -eu
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
command -v thrift >/dev/null || { echo "thrift is missing: apt-get install thrift-compiler"; exit 1; }
command -v python3 >/dev/null || { echo "python3 is missing: apt-get install python3 python3-venv"; exit 1; }
thrift --gen py -out "$folder" "$root/sdk/databridge/idl/databridge.thrift"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "thrift>=0.17,<0.30"
