request=function() return "GET http://127.0.0.1:18998/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" end
