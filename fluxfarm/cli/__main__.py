from fluxfarm.cli import main

main()
