//! gRPC: Python's grpcio at both ends. Messages are bytes, so nothing has to be generated.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use crate::{Credentials, Place, Process, StartError};

/// A server of `/test.Test/…`: each kind of call, one that fails, and one that never answers.
#[derive(Debug)]
pub struct GrpcServer {
    address: SocketAddr,
    process: Process,
}

impl GrpcServer {
    /// Listens on a free port of 127.0.0.1, with TLS if there are credentials.
    ///
    /// # Errors
    /// Python or its module is missing, or does not start.
    pub fn start(credentials: Option<&Credentials>) -> Result<Self, StartError> {
        let place = Place::Loopback;
        let reserved = place.reserve(place.ipv4(), 0).map_err(StartError::prepare("a port"))?;
        let address = reserved.address();
        drop(reserved);
        let mut command = python(SERVER);
        command.arg(address.to_string());
        if let Some(Credentials { certificate, key }) = credentials {
            command.args([certificate, key]);
        }
        let mut process = Process::spawn(&command)?;
        process.wait_for_line("a listener", Duration::from_secs(20), |line| line == "listening")?;
        Ok(Self { address, process })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it tells: `cancelled` for each call that its client gave up.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// Makes calls of every kind to `a.example` at this address, whose certificate is from `ca`. Ends with `fine` when all are as they
/// should be.
///
/// # Errors
/// Python or its module is missing.
pub fn call(address: SocketAddr, ca: &Path) -> Result<String, StartError> {
    let mut command = python(CLIENT);
    command.arg(address.to_string()).arg(ca);
    let mut process = Process::spawn(&command)?;
    process.wait(Duration::from_secs(60))?;
    Ok(process.output())
}

fn python(script: &str) -> Command {
    // Debian's own, which has Debian's modules.
    let mut command = Place::Loopback.command("/usr/bin/python3");
    command.args(["-u", "-c", script]);
    command
}

const SERVER: &str = "
import sys, grpc, threading
from concurrent import futures

def unary(request, context):
    context.set_trailing_metadata((('x-length', str(len(request))), ('x-bytes-bin', bytes(range(5)))))
    context.send_initial_metadata((('x-first', 'yes'),))
    return request[::-1]

def download(request, context):
    for number in range(int(request)):
        yield b'%d' % number * 1000

def upload(requests, context):
    return b'%d' % sum(len(request) for request in requests)

def talk(requests, context):
    for request in requests:
        yield b'heard ' + request

def fail(request, context):
    context.set_trailing_metadata((('x-why', 'because'),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'not today: \\u00e4')

def fail_late(request, context):
    yield b'one'
    context.abort(grpc.StatusCode.DATA_LOSS, 'lost')

def hang(request, context):
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait(30)
    print('cancelled' if not context.is_active() else 'still there')
    return b''

same = lambda message: message
both = dict(request_deserializer=same, response_serializer=same)
handlers = {
    'Unary': grpc.unary_unary_rpc_method_handler(unary, **both),
    'Download': grpc.unary_stream_rpc_method_handler(download, **both),
    'Upload': grpc.stream_unary_rpc_method_handler(upload, **both),
    'Talk': grpc.stream_stream_rpc_method_handler(talk, **both),
    'Fail': grpc.unary_unary_rpc_method_handler(fail, **both),
    'FailLate': grpc.unary_stream_rpc_method_handler(fail_late, **both),
    'Hang': grpc.unary_unary_rpc_method_handler(hang, **both),
}
server = grpc.server(futures.ThreadPoolExecutor(32))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('test.Test', handlers),))
if len(sys.argv) > 2:
    chain, key = (open(name, 'rb').read() for name in sys.argv[2:4])
    server.add_secure_port(sys.argv[1], grpc.ssl_server_credentials([(key, chain)]))
else:
    server.add_insecure_port(sys.argv[1])
server.start()
print('listening')
server.wait_for_termination()
";

const CLIENT: &str = "
import sys, time, grpc, queue
trust = grpc.ssl_channel_credentials(open(sys.argv[2], 'rb').read())
options = [('grpc.ssl_target_name_override', 'a.example'), ('grpc.enable_http_proxy', 0)]
channel = grpc.secure_channel(sys.argv[1], trust, options)
S = grpc.StatusCode

def fails(call, code):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        return error
    raise SystemExit('it did not fail with %s' % code)

unary = channel.unary_unary('/test.Test/Unary')
for length in (0, 1, 100, 100_000, 3_000_000):
    message = bytes(number % 251 for number in range(length))
    answer, call = unary.with_call(message, timeout=20)
    assert answer == message[::-1], length
    trailers = dict(call.trailing_metadata())
    assert trailers['x-length'] == str(length) and trailers['x-bytes-bin'] == bytes(range(5)), trailers
    assert dict(call.initial_metadata())['x-first'] == 'yes', call.initial_metadata()
    assert call.code() == S.OK

pieces = list(channel.unary_stream('/test.Test/Download')(b'1000', timeout=20))
assert len(pieces) == 1000 and pieces[999] == b'999' * 1000
assert channel.stream_unary('/test.Test/Upload')((b'x' * 10_000 for _ in range(500)), timeout=20) == b'5000000'

words = queue.Queue()
talk = channel.stream_stream('/test.Test/Talk')(iter(words.get, None), timeout=20)
for number in range(50):
    # Each is said only when the one before was heard.
    words.put(b'%d' % number)
    assert next(talk) == b'heard %d' % number
words.put(None)
assert list(talk) == [] and talk.code() == S.OK

error = fails(lambda: channel.unary_unary('/test.Test/Fail')(b'', timeout=20), S.FAILED_PRECONDITION)
assert error.details() == 'not today: \\u00e4' and dict(error.trailing_metadata())['x-why'] == 'because', error
late = channel.unary_stream('/test.Test/FailLate')(b'', timeout=20)
assert next(late) == b'one'
assert fails(lambda: next(late), S.DATA_LOSS).details() == 'lost'
fails(lambda: channel.unary_unary('/test.Test/Nothing')(b'', timeout=20), S.UNIMPLEMENTED)

hang = channel.unary_unary('/test.Test/Hang')
since = time.monotonic()
fails(lambda: hang(b'', timeout=0.5), S.DEADLINE_EXCEEDED)
assert time.monotonic() - since < 5
given_up = hang.future(b'', timeout=20)
time.sleep(0.3)
given_up.cancel()
assert given_up.cancelled()

many = [unary.future(b'%d' % number * 1000, timeout=20) for number in range(200)]
assert [one.result() for one in many] == [(b'%d' % number * 1000)[::-1] for number in range(200)]
print('fine')
";
