mkdir source
for n in 1 2 3 4 5 6 7 8; do
    printf 'export const a%s: number = %s\nexport type T%s = string\n' "$n" "$n" "$n" >source/m$n.ts
done
{
    for n in 1 2 3 4 5 6 7 8; do echo "import { a$n } from './m$n'"; done
    echo "import data from './data.json'; import './some.css'"
    echo 'const F = () => <p>{a1 + a2 + data.value}</p>; console.log(F, a3 ?? a4, import("./m5"))'
} >source/main.tsx
echo '{"value": 42}' >source/data.json
echo 'a { b { color: red } }' >source/some.css
"$PROGRAM" source/main.tsx --bundle --minify --sourcemap --outdir=out --log-level=error
cksum out/main.js out/main.css out/main.js.map
"$PROGRAM" source/main.tsx --bundle --splitting --format=esm --outdir=split --metafile=meta --analyze 2>&1 | grep -c '[0-9]b'
ls split
echo 'let x: number = 1 + 1; export { x }' | "$PROGRAM" --loader=ts --target=es2017 --format=cjs | tail -n 3
echo 'let = ;' | "$PROGRAM" --log-level=silent || echo "ended with $?"
"$PROGRAM" source/main.tsx --bundle --cpuprofile=profile --trace=trace --heap=heap --outfile=again.js --log-level=error
"$PROGRAM" --version
mkfifo forever
"$PROGRAM" source/main.tsx --bundle --watch --servedir=www --outdir=www --serve=127.0.0.1:8081 <>forever >log 2>&1 &
wait_for curl -sf http://127.0.0.1:8081/main.js
curl -s http://127.0.0.1:8081/main.js | grep -c 'a3 ='
sed -i s/3$/33/ source/m3.ts
wait_for sh -c 'curl -s http://127.0.0.1:8081/main.js | grep "a3 = 33"'
curl -s http://127.0.0.1:8081/main.css | head -n 3
