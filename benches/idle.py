"""Memory of a gateway that holds many idle connections.

    python3 benches/idle.py target/release/scopegate 10000 h1|h2

Opens the connections, makes one request on each (401, so that nothing but the gateway is measured), waits until all are
idle, and prints the growth of the resident set for each. Needs twice as many file descriptors as connections.
"""
import os
import socket
import subprocess
import sys
import tempfile
import time

binary, N, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
d=tempfile.mkdtemp()
open(d+'/jwks.json','w').write('{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}')
open(d+'/c.yaml','w').write('''listeners: [{ address: 127.0.0.1:18080 }, { address: 127.0.0.1:18081, http2: true }]
admin: { address: 127.0.0.1:18099 }
workers: 2
limits: { connections: 20000 }
timeouts: { idle: 10m, first_byte: 1m }
access_log: { output: "off" }
issuers: [{ issuer: "https://i.test/", jwks_file: jwks.json }]
apis:
  - definition: { identifier: urn:items, signing_alg: HS256, signing_secret: "0123456789abcdef0123456789abcdef0123456789abcdef" }
    signing_secret: env:S
    upstream: http://127.0.0.1:1
    routes: [{ path: /, require: authenticated }]
''')
p=subprocess.Popen([binary,'run','--config',d+'/c.yaml'],env={**os.environ,'S':'0123456789abcdef0123456789abcdef0123456789abcdef'},stderr=subprocess.PIPE)
time.sleep(1.5)
if p.poll() is not None: print(p.stderr.read().decode()[:2000]); sys.exit(1)
def rss():
    return int([l for l in open(f'/proc/{p.pid}/status') if l.startswith('VmRSS')][0].split()[1])
base=rss(); conns=[]
pre=b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0'
blk=b''.join(b'\0'+bytes([len(n)])+n+bytes([len(v)])+v for n,v in[(b':method',b'GET'),(b':scheme',b'http'),(b':authority',b'a.test'),(b':path',b'/')])
get=len(blk).to_bytes(3,'big')+b'\1\5\0\0\0\1'+blk
try:
    for i in range(N):
        s=socket.create_connection(('127.0.0.1',18081 if mode=='h2' else 18080)); 
        s.sendall(pre+get if mode=='h2' else b'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n'); conns.append(s)
        if i%500==499:
            for c in conns[-500:]: c.recv(4096)
    time.sleep(2)
    r=rss(); print(mode,N,'base',base,'KiB','now',r,'KiB','per connection %.2f KiB'%((r-base)/N))
finally:
    p.terminate(); p.wait(40)
