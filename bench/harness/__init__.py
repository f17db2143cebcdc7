"""The measuring side of `npm run bench`: namespaces, peers, probes, CPU accounting."""
