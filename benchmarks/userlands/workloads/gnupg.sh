# A key, a signature, an encrypted file, by gpg and the agent that it starts.
set -e
export GNUPGHOME=/tmp/gnupg; mkdir -m 700 $GNUPGHOME
gpg -q --batch --pinentry-mode loopback --passphrase '' --quick-generate-key someone@example.org ed25519 sign never 2>/dev/null
gpg -q --batch --pinentry-mode loopback --passphrase '' --quick-add-key "$(gpg -q --list-keys --with-colons | awk -F: '/^fpr/{print $10; exit}')" cv25519 encr never
seq 1000 >text; gpg -q --batch --yes -s -o signed text; gpg -q --batch --trust-model always -r someone@example.org -e -o secret text; gpg -q --batch -d secret | cmp - text && echo same
gpg --batch --status-fd 1 --verify signed 2>/dev/null | grep -o 'GOODSIG\|VALIDSIG' ; gpg -q --list-keys --with-colons | grep -c ^sub; gpgconf --kill all
