caps.drop all
secomp
seccomp.drop
noroot yes
protocol unix,ip
restrict-namespaces users
seccomp-error-action 5
?HAS_NOTHING: seccomp
?HAS_NET: seccomp
?HAS_NET:
