# Keys, certificates, encryption.
set -e
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=localhost 2>/dev/null; openssl x509 -in cert.pem -noout -subject -nameopt RFC2253
openssl ecparam -name prime256v1 -genkey -noout -out ec.pem; seq 10000 >text; openssl dgst -sha256 -sign key.pem -out signature text; openssl x509 -in cert.pem -pubkey -noout >public.pem; openssl dgst -sha256 -verify public.pem -signature signature text
openssl enc -aes-256-cbc -pbkdf2 -pass pass:secret -in text -out secret; openssl enc -d -aes-256-cbc -pbkdf2 -pass pass:secret -in secret | cmp - text && echo same; openssl dgst -sha256 text; openssl rand -hex 8 | wc -c
openssl s_server -quiet -accept 4433 -key key.pem -cert cert.pem -www >/dev/null 2>&1 & server=$!
i=0; until openssl s_client -connect localhost:4433 -CAfile cert.pem -verify_return_error -brief </dev/null >/dev/null 2>client.log; do i=$((i+1)); test $i -lt 50 || { cat client.log >&2; exit 1; }; sleep 0.1; done
kill $server; wait $server || true; grep -c 'Verification: OK' client.log
