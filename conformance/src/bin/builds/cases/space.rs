//! What builds cost on the disk, and how one gets it back.

use crate::case::{Case, Done, Need, Scene, case, has, is, was_cached};

pub fn cases() -> Vec<Case> {
    vec![
        case("space.df", &[Need::NotBuildah], |s| {
            s.builds("sized", "FROM tiny\nRUN head -c 3000000 /dev/urandom >/f\n")?;
            let df = s.must("docker system df")?;
            has("system df", &df, "Build Cache")?;
            let line = s.must(
                "docker system df --format '{{.Type}} {{.TotalCount}} {{.Size}}' | grep '^Build Cache'",
            )?;
            let count = line
                .split(' ')
                .nth(2)
                .and_then(|n| n.parse::<usize>().ok())
                .unwrap_or(0);
            is(&line, count > 0, true)?;
            let told = s.must("docker system df -v")?;
            has("system df -v", &told, "Build cache usage")
        }),
        case("space.prune", &[Need::NotBuildah], |s| {
            let text = "FROM tiny\nRUN head -c 3000000 /dev/urandom >/f\nRUN rm /f; echo small >/g\n";
            let mount = "FROM tiny\nRUN --mount=type=cache,target=/c,id=pruned echo x >>/c/f; cp /c/f /f\n";
            s.builds("pruned", text)?;
            s.builds("pruned-mount", mount)?;
            let told = s.must("docker builder prune -af")?;
            has("prune", &told, "Total reclaimed space: ").or_else(|_| has("prune", &told, "Total:"))?;
            // Images that were built stay; what only the cache had is gone.
            s.shows("pruned", "cat /g", "small")?;
            let told = s.builds("pruned", text)?;
            was_cached(&told, "RUN head", false)?;
            s.builds("pruned-mount", mount)?;
            s.shows("pruned-mount", "cat /f", "x")
        }),
        case("space.prune-asks", &[Need::NotBuildah], |s| {
            let o = s.hears("docker builder prune", "n\n")?;
            has(
                "prune",
                &(o.stdout + &o.stderr),
                "Are you sure you want to continue? [y/N]",
            )
        }),
        case("space.prune-filters", &[Need::Brig], |s| {
            s.builds("young", "FROM tiny\nRUN echo young >/f\n")?;
            s.must("docker rmi young; docker builder prune -f --filter until=24h")?;
            was_cached(&s.build("-t young .")?, "RUN echo young", true)?;
            s.must("docker builder prune -af --keep-storage 100g")?;
            was_cached(&s.build("-t young .")?, "RUN echo young", true)?;
            s.must("docker builder prune -af --max-used-space 0")
                .or_else(|_| s.must("docker builder prune -af"))?;
            Ok(())
        }),
        case("space.rmi-keeps-the-cache", &[Need::NotBuildah], |s| {
            s.builds("thrown", "FROM tiny\nRUN echo thrown away >/f\n")?;
            s.must("docker rmi thrown")?;
            was_cached(&s.build("-t thrown .")?, "RUN echo thrown", true)
        }),
        case("space.prune-of-a-running-build", &[Need::Brig], |s| {
            // Pruning beside a build takes nothing that it needs.
            s.dockerfile("FROM tiny\nRUN echo one >/f\nRUN sleep 1.5; cat /f\nRUN cat /f >/g\n")?;
            s.must("docker build -q -t beside . >out 2>&1 & build=$!; for i in 1 2 3 4 5 6; do sleep 0.3; docker builder prune -af; done; wait $build || { cat out >&2; exit 1; }")?;
            s.shows("beside", "cat /g", "one")
        }),
        case("space.gives-back", &[Need::Brig], gives_back),
    ]
}

/// After everything is removed the store is as small as it was.
fn gives_back(s: &Scene) -> Done {
    s.must("docker builder prune -af")?;
    let size = || -> Result<u64, String> {
        let text = s.must(&format!("du -s -B1K {} | cut -f1", s.lab.store().display()))?;
        text.parse().map_err(|e| format!("{text}: {e}"))
    };
    let before = size()?;
    s.builds(
        "heavy",
        "FROM tiny\nRUN head -c 20000000 /dev/urandom >/f\nRUN cp /f /g\n",
    )?;
    let full = size()?;
    is("it is there", full > before + 30_000, true)?;
    s.must("docker rmi heavy && docker builder prune -af")?;
    let after = size()?;
    is(
        &format!("{before} KiB before, {after} after"),
        after < before + 1_000,
        true,
    )?;
    s.must("docker system check")?;
    Ok(())
}
